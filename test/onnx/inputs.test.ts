// What may come as inputs and attributes of heed/onnx: nothing, integers of 64 bits, wrong values, shapes that are no
// shapes, arrays of other realms, and code that runs while inputs are read.
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { ints, tensor } from "../support/onnx.ts";
import {
  A,
  G,
  M,
  type Operator,
  R,
  calls,
  gqa,
  heads,
  longs,
  operators,
  shape,
  tables,
} from "../support/onnx-calls.ts";

forEachBuild((_, open) => {
  const heed = open();

  describe("what is no inputs, no attributes or no heed is named", () => {
    const nothing = [null, undefined, 1, "x", true, 1n, Symbol("s"), () => 1];
    it.each(Object.entries(operators))("%s", (_, operator) => {
      for (const value of nothing) {
        expect(() => operator(heed, value as never, {} as never)).toThrow(/^"inputs" expected an object, got /);
        expect(() => operator(value as never, {} as never, {} as never)).toThrow(/^"heed" expected an instance/);
        if (value === undefined) continue;
        expect(() => operator(heed, {} as never, value as never)).toThrow(/^"attributes" expected an object, got /);
      }
      const [, , inputs, attributes] = calls(1, 2, 2, 0).find((call) => call[1] === operator)!;
      for (const name of Object.keys(inputs)) {
        for (const value of nothing.filter((value) => value !== undefined)) {
          const call = () => operator(heed, { ...inputs, [name]: value } as never, attributes as never);
          expect(call).toThrow(new RegExp(`^"${name}" expected \\{ data, shape \\}, got `));
        }
      }
      expect(() => operator(heed, { ...inputs, toString: 1 } as never, attributes as never)).toThrow(
        /^"inputs" expected/,
      );
      const inherited = Object.assign(Object.create({ nothing: 1, mask: 1 }) as object, inputs);
      expect(() => operator(heed, inherited as never, attributes as never)).not.toThrow();
    });

    it("names that there are not come with the nearest one", () => {
      const [, , inputs] = calls(1, 2, 2, 0)[0]!;
      const call = (more: object, attributes: object) => () =>
        A(heed, { ...inputs, ...more } as never, attributes as never);
      expect(call({ attn_maks: 1 }, {})).toThrow(/^"inputs" expected .*, got "attn_maks"; did you mean "attn_mask"\?$/);
      expect(call({}, { causal: 1 })).toThrow(/^"attributes" expected .*, got "causal"; did you mean "is_causal"\?$/);
      expect(call({}, { zzzzzzzz: 1 })).toThrow(/got "zzzzzzzz"$/);
    });
  });

  describe("integers of 64 bits are refused where they do not fit", () => {
    const two = 2n ** 32n;
    const attention = { Q: shape(1, 1, 1, 4), K: shape(1, 1, 2, 4), V: shape(1, 1, 2, 4) };
    const past = { past_key: shape(1, 2, 4, 4), past_value: shape(1, 2, 4, 4) };
    const multi = { query: shape(1, 1, 8), key: shape(1, 1, 8), value: shape(1, 1, 8), ...past };
    const group = { query: shape(1, 1, 16), key: shape(1, 1, 8), value: shape(1, 1, 8), ...past };
    const lengths = { seqlens_k: longs(4n), total_sequence_length: longs(5n) };
    const rotary = { X: shape(1, 1, 1, 4), ...tables };
    it.each<[string, Operator, object, object]>([
      ["nonpad_kv_seqlen[0]", A, { ...attention, nonpad_kv_seqlen: longs(two + 1n) }, {}],
      ["nonpad_kv_seqlen[0]", A, { ...attention, nonpad_kv_seqlen: longs(-two) }, {}],
      ["past_sequence_length[0]", M, { ...multi, past_sequence_length: longs(two + 4n) }, heads],
      ["seqlens_k[0]", G, { ...group, ...lengths, seqlens_k: longs(two + 4n) }, gqa],
      ["total_sequence_length[0]", G, { ...group, ...lengths, total_sequence_length: longs(two + 5n) }, gqa],
      [
        "position_ids[0]",
        G,
        { ...group, ...lengths, ...tables, position_ids: { data: BigInt64Array.of(2n ** 63n - 1n), shape: [1, 1] } },
        { ...gqa, do_rotary: 1 },
      ],
      ["position_ids[0]", R, { ...rotary, position_ids: { data: BigInt64Array.of(two), shape: [1, 1] } }, {}],
      ["attributes.q_num_heads", A, attention, { q_num_heads: 2n ** 53n + 1n }],
      ["attributes.num_heads", M, multi, { num_heads: 2n ** 64n + 2n }],
      ["attributes.scale", M, multi, { num_heads: 2, scale: 2n ** 80n }],
      [
        "attributes.qkv_hidden_sizes[2]",
        A,
        { input: shape(1, 1, 4), weights: shape(4, 24) },
        { num_heads: 2, qkv_hidden_sizes: BigInt64Array.of(8n, 8n, 2n ** 60n + 1n) },
      ],
    ])("%s", (name, operator, inputs, attributes) => {
      const call = () => operator(heed, inputs as never, attributes as never);
      expect(call).toThrow(RangeError);
      expect(call).toThrow(new RegExp(`^"${name.replace(/[[\].]/g, "\\$&")}" expected`));
    });
  });

  describe("attributes of the wrong kind or value are refused by name, used or not", () => {
    const all = calls(1, 2, 2, 3);
    const of = (name: string) => all.find((call) => call[0] === name)!;
    const contrib = of("com.microsoft.Attention");
    it.each<[string, (typeof all)[number], unknown[]]>([
      ["scale", of("Attention"), [NaN, Infinity, 1e39, true, "1", null, [], {}]],
      ["softcap", of("Attention"), [NaN, -1, -1e-30, -Infinity, false]],
      ["left_window_size", of("Attention"), [-2, 1.5, NaN, "1"]],
      ["qk_matmul_output_mode", of("Attention"), [-1, 4, 0.5]],
      ["num_heads", contrib, [0, -1, 1.5, 2 ** 53, "2", null]],
      [
        "qkv_hidden_sizes",
        contrib,
        [8, null, "8,8,8", {}, [8, 8], [0, 0, 24], [6, 8, 10], new Float32Array([8, 8, 8])],
      ],
      [
        "qkv_hidden_sizes[0]",
        contrib,
        [[NaN, 8, 8], [-8, 8, 8], ["8", 8, 8], [8.5, 8, 8], new Array(3), [Infinity], [null, 8, 8]],
      ],
      ["mask_filter_value", contrib, [NaN, true, "x"]],
      ["past_present_share_buffer", contrib, [2, -1, "0", true]],
      ["rotary_embedding_dim", contrib, [-1, 0.5]],
      ["mask_filter_value", of("MultiHeadAttention, packed"), [NaN, null]],
      ["softcap", of("GroupQueryAttention"), [-3]],
      ["kv_cache_bit_width", of("GroupQueryAttention"), [-8, "8"]],
      ["qk_norm_epsilon", of("GroupQueryAttention"), [-1, NaN]],
      ["rotary_interleaved", of("GroupQueryAttention"), [2, NaN, true]],
      ["k_quant_type", of("GroupQueryAttention"), ["PER_HEAD", 0, null]],
      ["sliding_window_cache", of("GroupQueryAttention"), [2, -1, true]],
      ["interleaved", of("RotaryEmbedding"), [2, null]],
      ["num_heads", of("RotaryEmbedding"), [-1, 2 ** 40]],
    ])("%s", (name, [, operator, inputs, attributes], values) => {
      const key = name.replace(/\[.*/, "");
      for (const value of values) {
        const call = () => operator(heed, inputs as never, { ...attributes, [key]: value } as never);
        expect(call).toThrow(new RegExp(`^"attributes\\.${name.replace(/[[\]]/g, "\\$&")}" expected`));
      }
    });

    it("a softcap that is 0 in f32 is none, and attributes may be bigints", () => {
      const [, , inputs] = of("Attention");
      const Q = tensor(1, 4, 2, 4);
      const plain = A(heed, { ...inputs, Q } as never, {} as never)["Y"];
      const call = { softcap: 1e-300, qk_matmul_output_mode: 0n, is_causal: 0n };
      expect(A(heed, { ...inputs, Q } as never, call as never)["Y"]).toEqual(plain);
    });
  });

  describe("shapes are arrays of sizes whose product is the length of the data", () => {
    const hole = Object.assign(new Array<number>(4), { 0: 1, 1: 1, 3: 4 });
    it.each<[string, unknown, string]>([
      ["a hole", hole, "Q.shape[2]"],
      ["beyond 2^53", [1, 1, 2 ** 53, 0], "Q.shape[2]"],
      ["beyond 2^31", [1, 1, 2 ** 31, 0], "Q.shape[2]"],
      ["a string", [1, 1, "3", 4], "Q.shape[2]"],
      ["a fraction", [1, 1.5, 2, 4], "Q.shape[1]"],
      ["negative", [-1, -3, 1, 4], "Q.shape[0]"],
      ["a product that overflows", [2 ** 30, 2 ** 30, 2 ** 30, 2 ** 30], "Q.data"],
      [
        "a Proxy that claims 2^32 sizes",
        new Proxy([1], { get: (_, key) => (key === "length" ? 2 ** 32 : 1) }),
        "Q.shape",
      ],
      ["many ones", new Array(1000).fill(1), "Q.shape"],
      ["a typed array", Int32Array.of(1, 1, 3, 4), "Q.shape"],
      ["a string of digits", "1134", "Q.shape"],
      ["no head", [1, 0, 3, 4], "Q.data"],
    ])("%s", (_, given, name) => {
      const inputs = { Q: { data: new Float32Array(12), shape: given }, K: shape(1, 1, 3, 4), V: shape(1, 1, 3, 4) };
      const call = () => A(heed, inputs as never, {} as never);
      expect(call).toThrow(new RegExp(`^"${name.replace(/[[\].]/g, "\\$&")}" expected`));
    });

    it.each<[string, object, object, string]>([
      ["no head", { Q: shape(1, 0, 3, 4), K: shape(1, 0, 3, 4), V: shape(1, 0, 3, 4) }, {}, "Q.shape[1]"],
      [
        "rows of no floats",
        { Q: shape(1, 1, 2 ** 30, 0), K: shape(1, 1, 1, 0), V: shape(1, 1, 1, 4) },
        {},
        "Q.shape[3]",
      ],
      ["values of no floats", { Q: shape(1, 1, 3, 4), K: shape(1, 1, 3, 4), V: shape(1, 1, 3, 0) }, {}, "V.shape[3]"],
      [
        "values of 2^30 floats",
        { Q: shape(1, 1, 1, 4), K: shape(1, 1, 0, 4), V: shape(1, 1, 0, 2 ** 30) },
        {},
        "V.shape[3]",
      ],
      ["2^30 heads", { Q: shape(0, 2 ** 30, 3, 4), K: shape(0, 1, 3, 4), V: shape(0, 1, 3, 4) }, {}, "Q.shape[1]"],
      ["an input of no floats", { input: shape(2 ** 20, 2 ** 20, 0), weights: shape(0, 24) }, heads, "input.shape[2]"],
    ])("%s", (_, inputs, attributes, name) => {
      const call = () => A(heed, inputs as never, attributes as never);
      expect(call).toThrow(new RegExp(`^"${name.replace(/[[\].]/g, "\\$&")}" expected`));
    });
  });

  describe("arrays", () => {
    const inputs = { Q: tensor(2, 4, 3, 4), K: tensor(2, 2, 5, 4), V: tensor(2, 2, 5, 4), attn_mask: tensor(3, 5) };
    const all = (given: object) => {
      const outputs = A(heed, given as never, { is_causal: 1 } as never);
      return Object.entries(outputs).map(([name, { data, shape }]) => [name, Array.from(data), shape]);
    };
    const each = (make: (data: Float32Array) => unknown) =>
      Object.fromEntries(Object.entries(inputs).map(([name, { data, shape }]) => [name, { data: make(data), shape }]));

    it("of another realm, over shared memory, of a subclass, and parts of larger ones", () => {
      const expected = all(inputs);
      const Other = runInNewContext("Float32Array") as Float32ArrayConstructor;
      expect(all(each((data) => Other.from(data)))).toEqual(expected);
      const shared = (data: Float32Array) => {
        const copy = new Float32Array(new SharedArrayBuffer(data.byteLength));
        copy.set(data);
        return copy;
      };
      expect(all(each(shared))).toEqual(expected);
      class Own extends Float32Array {
        override get length(): number {
          return 3;
        }
      }
      expect(all(each((data) => Object.setPrototypeOf(data.slice(), Own.prototype)))).toEqual(expected);
      const lying = (data: Float32Array) => Object.defineProperty(data.slice(), "length", { value: -1 });
      expect(all(each(lying))).toEqual(expected);
      const part = (data: Float32Array) => {
        const larger = new Float32Array(data.length + 2).fill(NaN);
        larger.set(data, 1);
        return larger.subarray(1, -1);
      };
      expect(all(each(part))).toEqual(expected);
      const Longs = runInNewContext("BigInt64Array") as BigInt64ArrayConstructor;
      const nonpad = (data: unknown) => ({ ...inputs, nonpad_kv_seqlen: { data, shape: [2] } });
      expect(all(nonpad(Longs.of(5n, 2n)))).toEqual(all(nonpad(Int32Array.of(5, 2))));
    });

    it.each(Object.keys(inputs))("%s whose buffer was transferred is refused", (name) => {
      const data = inputs[name as "Q"].data.slice();
      structuredClone(null, { transfer: [data.buffer] });
      const call = (shape: number[]) => () => all({ ...inputs, [name]: { data, shape } });
      expect(call([...inputs[name as "Q"].shape])).toThrow(new RegExp(`^"${name}.data" expected .*transferred`));
      expect(call([0, 4, 3, 4])).toThrow(new RegExp(`^"${name}.data" expected .*transferred`));
    });

    it("views of linear memory", () => {
      using q = heed.tensor(inputs.Q.data.length);
      q.data.set(inputs.Q.data);
      expect(all({ ...inputs, Q: { data: q.data, shape: [2, 4, 3, 4] } })).toEqual(all(inputs));
    });
  });

  describe("inputs and attributes are read once", () => {
    it.each(calls(2, 2, 3, 4))("%s", (name, operator, inputs, attributes) => {
      const reads = new Map<string, number>();
      const watch = (title: string, value: unknown): unknown => {
        if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || Array.isArray(value))
          return value;
        return new Proxy(value, {
          get(target, key) {
            const full = `${title}.${String(key)}`;
            reads.set(full, (reads.get(full) ?? 0) + 1);
            return watch(full, Reflect.get(target, key));
          },
        });
      };
      const watched = operator(heed, watch("inputs", inputs) as never, watch("attributes", attributes) as never);
      const expected = operator(heed, inputs as never, attributes as never);
      for (const output of Object.keys(expected)) expect(watched[output], name).toEqual(expected[output]);
      expect([...reads.values()].every((n) => n === 1)).toBe(true);
      expect(reads.size).toBeGreaterThan(Object.keys(inputs).length);
    });

    it("outputs made later use what was read", () => {
      const nonpad_kv_seqlen = ints([2, 5]);
      const inputs = { Q: tensor(2, 4, 3, 4), K: tensor(2, 2, 5, 4), V: tensor(2, 2, 5, 4), nonpad_kv_seqlen };
      const attributes = { is_causal: 1, scale: 0.25 };
      const expected = A(heed, inputs as never, attributes as never);
      const read = [expected["Y"], expected["qk_matmul_output"]];
      const given = { ...inputs, Q: { ...inputs.Q, shape: [...inputs.Q.shape] } };
      const later = A(heed, given as never, attributes as never);
      given.Q.shape.fill(1);
      Object.assign(given, { K: null, V: null });
      Object.assign(attributes, { is_causal: 0, scale: 4 });
      nonpad_kv_seqlen.data.fill(0);
      expect([later["Y"], later["qk_matmul_output"]]).toEqual(read);

      const key_padding_mask = ints([1, 3]);
      const rows = tensor(2, 3, 8);
      const multi = { query: rows, key: rows, value: rows, key_padding_mask };
      const before = M(heed, multi as never, heads as never);
      const qk = before["qk"]!;
      const after = M(heed, multi as never, heads as never);
      key_padding_mask.data.fill(0);
      expect(after["qk"]).toEqual(qk);
    });
  });
});
