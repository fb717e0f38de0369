// The operators of ONNX in f16 and bf16: outputs of the type of the inputs, computed in f32 and rounded once.
import { describe, expect, it } from "vitest";
import type { OnnxTensor } from "../../bindings/onnx/index.ts";
import { rounded, widened } from "../../bindings/onnx/halves.ts";
import { forEachBuild } from "../support/builds.ts";
import { type HalfDtype, bitsOfFloats, bitsOfHalves, boundaries, floatsOf, halvesOf } from "../support/halves.ts";
import { A, G, M, type Operator, R, calls, gqa, heads, shape, tables } from "../support/onnx-calls.ts";
import { ints } from "../support/onnx.ts";
import { floats, uniform } from "../support/random.ts";
import { expectRefusal } from "../support/refusal.ts";

type Input = { data: Float32Array | Int32Array | Int8Array; shape: number[] };
type Half = { data: Uint16Array; dtype: HalfDtype; shape: number[] };

const DTYPES = ["f16", "bf16"] as const;
/** Scales and the int8 cache, which ONNX Runtime keeps in their types. */
const KEPT = new Set(["k_scale", "v_scale"]);

/** The inputs with random floats, in 16 bits and as the f32 that these stand for. */
function both(inputs: object, dtype: HalfDtype, seed: number): { halves: object; plain: object } {
  const next = uniform(seed);
  const entries = Object.entries(inputs as Record<string, Input>).map(([name, input]) => {
    if (!(input.data instanceof Float32Array) || KEPT.has(name)) return [name, input, input] as const;
    const half = halvesOf(floats(input.data.length, next), dtype);
    return [name, { ...half, shape: input.shape }, { data: floatsOf(half), shape: input.shape }] as const;
  });
  return {
    halves: Object.fromEntries(entries.map(([name, half]) => [name, half])),
    plain: Object.fromEntries(entries.map(([name, , plain]) => [name, plain])),
  };
}

const past = { past_key: shape(2, 2, 4, 4), past_value: shape(2, 2, 4, 4) };
const group = {
  ...{ query: shape(2, 3, 16), key: shape(2, 3, 8), value: shape(2, 3, 8), ...past },
  ...{ seqlens_k: ints([6, 5]), total_sequence_length: ints([7]) },
};
/** Calls whose k and v are inputs: nothing is rounded before the output. */
const EXACT: [string, Operator, object, object][] = [
  ...calls(2, 3, 5, 4).filter(([name]) => name.includes("RotaryEmbedding")),
  ...calls(2, 3, 5, 4).filter(([name]) => name.startsWith("Attention")),
  [
    "a mask of floats, of fewer keys",
    A,
    { Q: shape(1, 2, 3, 4), K: shape(1, 2, 5, 4), V: shape(1, 2, 5, 8), attn_mask: shape(3, 4) },
    { qk_matmul_output_mode: 2, softcap: 3 },
  ],
  [
    "MultiHeadAttention",
    M,
    {
      query: shape(2, 3, 8),
      key: shape(2, 5, 8),
      value: shape(2, 5, 8),
      attention_bias: shape(1, 2, 3, 9),
      key_padding_mask: ints([9, 0], 2),
      ...past,
    },
    heads,
  ],
  ["MultiHeadAttention, packed", M, { query: shape(2, 3, 2, 3, 4) }, heads],
  [
    "MultiHeadAttention, room in the past",
    M,
    { query: shape(2, 1, 8), key: shape(2, 1, 8), value: shape(2, 1, 8), ...past, past_sequence_length: ints([2]) },
    heads,
  ],
  [
    "GroupQueryAttention",
    G,
    { ...group, head_sink: shape(4), attention_bias: shape(1, 4, 3, 7) },
    { ...gqa, qk_output: 2, local_window_size: 4 },
  ],
  [
    "GroupQueryAttention, packed",
    G,
    { query: shape(2, 3, 32), ...past, seqlens_k: ints([6, 5]), total_sequence_length: ints([7]) },
    gqa,
  ],
  ["GroupQueryAttention of a window", G, group, { ...gqa, sliding_window_cache: 1, local_window_size: 3 }],
];
/** Calls that make k and v, which the present has in the type of query. */
const ROUNDED: [string, Operator, object, object][] = [
  ["GroupQueryAttention with rotary", G, { ...group, ...tables }, { ...gqa, do_rotary: 1 }],
  [
    "GroupQueryAttention with norms and rotary",
    G,
    { ...group, ...tables, q_norm_weight: shape(4), k_norm_weight: shape(4) },
    { ...gqa, do_rotary: 1 },
  ],
  [
    "MultiHeadAttention with a bias",
    M,
    { query: shape(2, 3, 8), key: shape(2, 5, 8), value: shape(2, 5, 8), bias: shape(24), ...past },
    heads,
  ],
  [
    "com.microsoft.Attention",
    A,
    {
      input: shape(2, 3, 6),
      weights: shape(6, 24),
      bias: shape(24),
      past: shape(2, 2, 2, 4, 4),
      mask_index: ints([7, 0]),
    },
    { num_heads: 2 },
  ],
];

forEachBuild((_, open) => {
  const heed = open();
  const { used } = heed.memory;
  const read = (outputs: object) => ({ ...outputs }) as Record<string, OnnxTensor | Half>;

  describe.each(DTYPES)("%s", (dtype) => {
    const isHalf = (output: OnnxTensor | Half): output is Half => "dtype" in output;

    it.each(EXACT)("%s: the outputs of f32, rounded once", (_, operator, inputs, attributes) => {
      const { halves, plain } = both(inputs, dtype, 7);
      const expected = read(operator(heed, plain as never, attributes as never));
      const got = read(operator(heed, halves as never, attributes as never));
      for (const [name, { data, shape }] of Object.entries(expected)) {
        const output = got[name]!;
        expect(output.shape, name).toEqual(shape);
        // The scores of MultiHeadAttention have a type of their own.
        if (operator === M && name === "qk") {
          expect(bitsOfFloats(output.data as Float32Array)).toEqual(bitsOfFloats(data as Float32Array));
          continue;
        }
        expect(isHalf(output) && output.dtype, name).toBe(dtype);
        const nearest = halvesOf(data, dtype);
        expect(bitsOfHalves(output.data as Uint16Array, dtype), name).toEqual(bitsOfHalves(nearest.data, dtype));
      }
      expect(heed.memory.used).toBe(used);
    });

    it.each(ROUNDED)("%s: k and v are those of the present", (_, operator, inputs, attributes) => {
      const { halves, plain } = both(inputs, dtype, 8);
      const expected = read(operator(heed, plain as never, attributes as never));
      const got = read(operator(heed, halves as never, attributes as never));
      const unit = dtype === "f16" ? 2 ** -11 : 2 ** -8;
      for (const name of ["present", "present_key", "present_value"]) {
        if (!(name in expected)) continue;
        const nearest = halvesOf(expected[name]!.data, dtype);
        expect(bitsOfHalves(got[name]!.data as Uint16Array, dtype), name).toEqual(bitsOfHalves(nearest.data, dtype));
      }
      // k and v each are off by a rounding of values below 4, and so is the output.
      const output = floatsOf(got["output"] as Half);
      const largest = Math.max(...output.map(Math.abs));
      output.forEach((x, i) => {
        expect(Math.abs(x - (expected["output"]!.data as Float32Array)[i]!)).toBeLessThan(16 * unit * (1 + largest));
      });
    });

    it("a past of another type keeps it, and new rows are rounded to it", () => {
      const other = dtype === "f16" ? "bf16" : "f16";
      const rows = both({ query: group.query, key: group.key, value: group.value }, dtype, 3);
      const cache = both(past, other, 4);
      const lengths = { seqlens_k: group.seqlens_k, total_sequence_length: group.total_sequence_length };
      const expected = read(G(heed, { ...rows.plain, ...cache.plain, ...lengths } as never, gqa as never));
      const got = read(G(heed, { ...rows.halves, ...cache.halves, ...lengths } as never, gqa as never));
      expect(got["output"]).toMatchObject({ dtype });
      expect(got["present_key"]).toMatchObject({ dtype: other });
      const nearest = halvesOf(expected["present_key"]!.data, other);
      expect(bitsOfHalves((got["present_key"] as Half).data, other)).toEqual(bitsOfHalves(nearest.data, other));
    });

    it("an int8 cache stays one", () => {
      const int8 = { data: new Int8Array(64).fill(3), shape: [2, 2, 4, 4] };
      const inputs = {
        ...group,
        past_key: int8,
        past_value: int8,
        k_scale: { data: Float32Array.of(0.1), shape: [1] },
        v_scale: { data: Float32Array.of(0.1), shape: [1] },
      };
      const { halves, plain } = both(inputs, dtype, 5);
      const attributes = { ...gqa, k_quant_type: "PER_TENSOR", v_quant_type: "PER_TENSOR", kv_cache_bit_width: 8 };
      const expected = read(G(heed, plain as never, attributes as never));
      const got = read(G(heed, halves as never, attributes as never));
      expect(got["present_key"]).toEqual(expected["present_key"]);
      const nearest = halvesOf(expected["output"]!.data, dtype);
      expect(bitsOfHalves((got["output"] as Half).data, dtype)).toEqual(bitsOfHalves(nearest.data, dtype));
    });

    it("V and a mask may have another type than Q", () => {
      const qk = both({ Q: shape(1, 2, 3, 4), K: shape(1, 2, 5, 4), past_key: shape(1, 2, 2, 4) }, dtype, 6);
      const rest = both({ V: shape(1, 2, 5, 4), past_value: shape(1, 2, 2, 4), attn_mask: shape(3, 7) }, dtype, 9);
      const expected = read(A(heed, { ...qk.plain, ...rest.plain } as never, {} as never));
      const got = read(A(heed, { ...qk.halves, ...rest.plain } as never, {} as never));
      expect(got["present_value"]!.data).toEqual(expected["present_value"]!.data);
      const nearest = halvesOf(expected["Y"]!.data, dtype);
      expect(bitsOfHalves((got["Y"] as Half).data, dtype)).toEqual(bitsOfHalves(nearest.data, dtype));
    });

    it("converts every value, and rounds what lies between two", () => {
      const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
      expect(bitsOfFloats(widened(all, dtype))).toEqual(bitsOfFloats(floatsOf({ data: all, dtype })));
      const values = Float32Array.from(boundaries(dtype));
      expect(bitsOfHalves(rounded(values, dtype) as Uint16Array, dtype)).toEqual(
        bitsOfHalves(halvesOf(values, dtype).data, dtype),
      );
    });
  });

  it("present_key is K itself where nothing comes before it", () => {
    const rows = { data: new Uint16Array(40), dtype: "bf16", shape: [1, 2, 5, 4] };
    const { present_key } = read(A(heed, { Q: rows, K: rows, V: rows } as never, {} as never));
    expect(present_key!.data).toBe(rows.data);
  });

  it("takes views of the instance's own memory", () => {
    using tensor = heed.tensor(40, "bf16");
    const rows = { data: tensor.data, dtype: "bf16", shape: [1, 2, 5, 4] };
    const outputs = A(heed, { Q: rows, K: rows, V: rows } as never, {} as never);
    tensor.data.fill(0x7fc0);
    expect((outputs["Y"] as unknown as Half).data.every((bits) => bits === 0)).toBe(true);
  });

  it.skipIf(!("Float16Array" in globalThis))("gives Float16Arrays for Float16Arrays (Node 24 and later)", () => {
    const Float16 = (globalThis as unknown as { Float16Array: new (from: ArrayLike<number>) => object }).Float16Array;
    const rows = { data: new Float16([1, 2, 3, 4]), shape: [1, 1, 1, 4] };
    const outputs = read(
      A(heed, { Q: rows, K: rows, V: rows, past_key: rows, past_value: rows } as never, {} as never),
    );
    for (const [name, { data }] of Object.entries(outputs)) expect(data, name).toBeInstanceOf(Float16);
    expect(outputs["Y"]).toEqual({ ...rows, dtype: "f16" });
  });

  describe("refuses, by name, and changes nothing", () => {
    const half = (dtype: unknown, ...sizes: number[]) => ({
      ...shape(...sizes),
      data: new Uint16Array(shape(...sizes).data.length),
      dtype,
    });
    const attention = { Q: half("f16", 1, 2, 3, 4), K: half("f16", 1, 2, 5, 4), V: half("f16", 1, 2, 5, 4) };
    const multi = { query: half("f16", 1, 3, 8), key: half("f16", 1, 5, 8), value: half("f16", 1, 5, 8) };
    const grouped = {
      query: half("f16", 1, 3, 16),
      key: half("f16", 1, 3, 8),
      value: half("f16", 1, 3, 8),
      seqlens_k: ints([2]),
      total_sequence_length: ints([3]),
    };
    const rotary = { X: half("f16", 1, 2, 3, 4), cos_cache: half("f16", 1, 3, 2), sin_cache: half("f16", 1, 3, 2) };
    const contrib = { input: half("f16", 1, 3, 4), weights: half("f16", 4, 24) };
    it.each<[string, string, typeof TypeError | typeof RangeError, Operator, object, object?]>([
      ["bits without a dtype", "Q.dtype", TypeError, A, { ...attention, Q: half(undefined, 1, 2, 3, 4) }],
      ["an unknown dtype", "K.dtype", RangeError, A, { ...attention, K: half("f8", 1, 2, 5, 4) }],
      ["K of another type than Q", "K", TypeError, A, { ...attention, K: half("bf16", 1, 2, 5, 4) }],
      [
        "a past_key of another type",
        "past_key",
        TypeError,
        A,
        { ...attention, past_key: shape(1, 2, 1, 4), past_value: half("f16", 1, 2, 1, 4) },
      ],
      [
        "a past_value of another type than V",
        "past_value",
        TypeError,
        A,
        { ...attention, past_key: half("f16", 1, 2, 1, 4), past_value: shape(1, 2, 1, 4) },
      ],
      ["value of another type", "value", TypeError, M, { ...multi, value: shape(1, 5, 8) }, heads],
      ["a bias of another type", "bias", TypeError, M, { ...multi, bias: shape(24) }, heads],
      [
        "an attention_bias of another type",
        "attention_bias",
        TypeError,
        M,
        { ...multi, attention_bias: half("bf16", 1, 2, 3, 5) },
        heads,
      ],
      ["tables of another type", "cos_cache", TypeError, G, { ...grouped, ...tables }, { ...gqa, do_rotary: 1 }],
      ["a sink of another type", "head_sink", TypeError, G, { ...grouped, head_sink: shape(4) }, gqa],
      ["a scale in 16 bits", "k_scale.data", TypeError, G, { ...grouped, k_scale: half("f16", 1) }, gqa],
      [
        "past_key and past_value of two types",
        "past_value",
        TypeError,
        G,
        { ...grouped, past_key: half("f16", 1, 2, 0, 4), past_value: half("bf16", 1, 2, 0, 4) },
        gqa,
      ],
      ["cosines of another type than X", "cos_cache", TypeError, R, { ...rotary, cos_cache: half("bf16", 1, 3, 2) }],
      ["sines in f32", "sin_cache", TypeError, R, { ...rotary, sin_cache: shape(1, 3, 2) }],
      ["weights of another type", "weights", TypeError, A, { ...contrib, weights: shape(4, 24) }, { num_heads: 2 }],
    ])("%s", (_, named, kind, operator, inputs, attributes = {}) => {
      expectRefusal(kind, named, () => operator(heed, inputs as never, attributes as never));
      expect(heed.memory.used).toBe(used);
    });

    it("says which type it should be", () => {
      const call = () => A(heed, { ...attention, K: half("bf16", 1, 2, 5, 4) } as never, {} as never);
      expect(call).toThrow('"K" expected f16 (the type of Q), got bf16');
    });
  });
});
