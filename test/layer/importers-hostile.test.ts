// What the importers do with dicts, arrays and options that are no such, or nearly.
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { MultiHeadAttention, load } from "heed";
import { describe, expect, it } from "vitest";
import type { Weight } from "../../bindings/layer/linear-weights.ts";
import {
  type Dict,
  below,
  bertNames,
  gpt2,
  kerasDict,
  llamaNames as llama,
  ofFree,
  free,
  optNames,
  torchDict,
  weights,
  zeros as shape,
} from "../support/importers.ts";
import { runs } from "../support/sweep.ts";

const { fromTorch, fromHuggingFace, fromKeras, fromOnnx } = MultiHeadAttention;

describe("hostile dicts", () => {
  const dict = below("a.", ...llama);

  it("reads own enumerable keys, each tensor once, none elsewhere", () => {
    const reads: string[] = [];
    const counting = Object.defineProperties(
      Object.create({ "a.q_norm.weight": shape(8) }) as object,
      Object.fromEntries(
        [...Object.entries(dict), ["b.q_proj.weight", shape(8, 8)] as const].map(([name, tensor]) => [
          name,
          {
            enumerable: true,
            get: () => {
              reads.push(name);
              return tensor;
            },
          },
        ]),
      ),
    );
    expect(fromHuggingFace(counting as Dict, { prefix: "a" })).toEqual(fromHuggingFace(dict, { prefix: "a" }));
    expect(reads.sort()).toEqual(Object.keys(dict).sort());
  });

  it("takes Maps and arrays of another realm, shared memory and subclasses", async () => {
    using heed = await load();
    const outOf = (given: Dict | Map<string, Weight>) => {
      using layer = heed.createMultiHeadAttention(fromHuggingFace(given, { prefix: "a", numHeads: 2 }));
      return layer.forward(Float32Array.from({ length: 24 }, (_, i) => Math.cos(i))).out;
    };
    const names = Object.keys(dict);
    const floats = (n: number) => Array.from({ length: 64 }, (_, i) => Math.sin(n + i));
    const expected = outOf(
      Object.fromEntries(names.map((name, n) => [name, { data: Float32Array.from(floats(n)), shape: [8, 8] }])),
    );
    const Other = runInNewContext("Float32Array") as typeof Float32Array;
    const other = runInNewContext("new Map()") as Map<string, Weight>;
    names.forEach((name, n) => other.set(name, { data: Other.from(floats(n)), shape: [8, 8] }));
    expect(outOf(other)).toEqual(expected);
    class Own extends Float32Array {
      override get length(): number {
        return 1;
      }
      override subarray(): never {
        throw new Error("not to be called");
      }
    }
    const own = names.map((name, n) => {
      const data = new Own(new SharedArrayBuffer(256) as never);
      floats(n).forEach((x, i) => (data[i] = x));
      return [name, { data, shape: [8, 8] }] as const;
    });
    expect(outOf(new Map(own))).toEqual(expected);
  });

  it.each<[string, string, unknown]>([
    ["a detached array", "a.q_proj.weight.data", { data: structuredCloneAway(), shape: [8, 8] }],
    [
      "a shape with a hole",
      "a.q_proj.weight.shape[0]",
      { data: new Float32Array(64), shape: Object.assign(new Array(2), { 1: 8 }) },
    ],
    ["a shape of strings", "a.q_proj.weight.shape[1]", { data: new Float32Array(64), shape: [8, "8"] }],
    ["a shape beyond 2^53", "a.q_proj.weight.shape[0]", { data: new Float32Array(0), shape: [2 ** 60, 0] }],
    ["null", "a.q_proj.weight", null],
    ["a number", "a.q_proj.weight", 1],
  ])("refuses %s by name", (_, name, tensor) => {
    const wrong = { ...dict, "a.q_proj.weight": tensor as Weight };
    expect(() => fromHuggingFace(wrong, { prefix: "a" })).toThrow(
      new RegExp(`^"${name.replace(/[[\]]/g, "\\$&")}" expected`),
    );
  });

  it.each([[null], [undefined], [1], ["x"], [new Float32Array(4)], [Symbol.iterator]])(
    "refuses %s for the dict",
    (dict) => {
      for (const from of [fromTorch, fromHuggingFace, fromKeras]) {
        expect(() => from(dict as never)).toThrow(/^"(stateDict|weights)" expected/);
      }
      expect(() => fromOnnx(dict as never, { num_heads: 1 })).toThrow(/^"(inputs|weights)"|^"0" is no option/);
    },
  );
});

describe("unknown options", () => {
  const dict = below("", ...llama);
  it.each<[string, () => unknown, RegExp]>([
    [
      "prefx",
      () => fromTorch(dict, { prefx: "a" } as never),
      /^"prefx" is no option of fromTorch; did you mean "prefix"/,
    ],
    [
      "num_heads",
      () => fromHuggingFace(dict, { num_heads: 2 } as never),
      /^"num_heads" is no option of fromHuggingFace; did you mean "numHeads"/,
    ],
    ["numHeads of fromKeras", () => fromKeras(dict, { numHeads: 2 } as never), /^"numHeads" is no option of fromKeras/],
    [
      "wieghts",
      () => fromOnnx({ wieghts: 1 } as never, { num_heads: 2 }),
      /^"wieghts" is no option of fromOnnx; did you mean "weights"/,
    ],
    [
      "numHeads of fromOnnx",
      () => fromOnnx({ weights: shape(8, 24) }, { numHeads: 2 } as never),
      /^"numHeads" is no option of fromOnnx; did you mean "num_heads"/,
    ],
    ["null", () => fromHuggingFace(dict, null as never), /^"options" expected an object, got null/],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(message);
    expect(call).toThrow(TypeError);
  });

  it.each<[string, object]>([
    ["scale", { scale: NaN }],
    ["scale", { scale: "1" }],
    ["unidirectional", { unidirectional: 2 }],
    ["unidirectional", { unidirectional: true }],
    ["do_rotary", { do_rotary: 1 }],
    ["mask_filter_value", { mask_filter_value: -1 }],
    ["qkv_hidden_sizes", { qkv_hidden_sizes: null }],
    ["qkv_hidden_sizes[1]", { qkv_hidden_sizes: [8, undefined, 8] }],
    ["qkv_hidden_sizes[0]", { qkv_hidden_sizes: [NaN, NaN, NaN] }],
  ])("an attribute that fits nothing: %s, %o", (name, more) => {
    const call = () => fromOnnx({ weights: shape(8, 24) }, { num_heads: 2, ...more });
    expect(call).toThrow(new RegExp(`^"${name.replace(/[[\]]/g, "\\$&")}" expected`));
  });

  it("takes the attributes of a node as it was exported", () => {
    const node = { num_heads: 2, mask_filter_value: -3.4028234663852886e38, do_rotary: 0 };
    expect(fromOnnx({ weights: shape(8, 24) }, node)).toEqual(fromOnnx({ weights: shape(8, 24) }, { num_heads: 2 }));
  });
});

function structuredCloneAway(): Float32Array {
  const data = new Float32Array(64);
  structuredClone(null, { transfer: [data.buffer] });
  return data;
}

describe("nearly valid dicts", () => {
  const sizes = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom(NaN, -1, 0.5, 2 ** 31, 2 ** 53, 8, 24));
  const oddities: fc.Arbitrary<unknown> = fc.oneof(
    sizes,
    fc.constantFrom<unknown>(null, undefined, true, "", "8", 2n, {}, [], () => 1, Symbol("s"), structuredCloneAway()),
  );
  const tensors: fc.Arbitrary<unknown> = fc.oneof(
    oddities,
    fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 3 }).map((sizes) => shape(...sizes)),
    fc.record({
      data: fc.oneof(
        oddities,
        fc.integer({ min: 0, max: 64 }).map((length) => new Float32Array(length)),
      ),
      shape: fc.oneof(oddities, fc.array(sizes, { maxLength: 3 }), fc.array(oddities, { maxLength: 3 })),
    }),
  );
  const names =
    "q_norm.weight q_proj.bias k_proj.weight bias masked_bias rotary_emb.inv_freq sinks c_attn.weight c_proj.bias " +
    "__proto__ constructor position_ids output.LayerNorm.weight LayerNorm.bias relative_attention_bias.weight " +
    "q_proj.lora_A.weight bias_k in_proj_bias out_proj.bias query/bias key/kernel attention_output/bias " +
    "outWeight outBias gate foo";
  const options =
    "prefix numHeads add_zero_attn num_heads qkv_hidden_sizes scale unidirectional do_rotary mask_filter_value foo " +
    "__proto__";
  const change = fc.record({ option: fc.boolean(), own: fc.boolean(), name: fc.nat(), value: tensors, odd: oddities });
  const bases: [(dict: never, options: never) => object, Dict, object][] = [
    [fromTorch, torchDict(weights), { numHeads: 4 }],
    [fromHuggingFace, below("", ...llama), { numHeads: 2 }],
    [fromHuggingFace, below("", ...bertNames), {}],
    [fromHuggingFace, below("a.", ...optNames), { prefix: "a" }],
    [fromHuggingFace, gpt2(), { numHeads: 4 }],
    [fromKeras, kerasDict(ofFree, free), {}],
    [fromOnnx, { weights: shape(8, 24), bias: shape(24), outWeight: shape(8, 8), outBias: shape(8) }, { num_heads: 2 }],
  ];

  it("give options that are all of the tensors, or an error that names one", async () => {
    using heed = await load();
    const { used } = heed.memory;
    let [made, refused] = [0, 0];
    fc.assert(
      fc.property(fc.nat(), fc.array(change, { maxLength: 2 }), (which, changes) => {
        const [from, tensors, given] = bases[which % bases.length]!;
        const [dict, more] = [{ ...tensors }, { ...given }];
        for (const { option, own, name, value, odd } of changes) {
          const target = option ? more : dict;
          const candidates = own ? Object.keys(target) : (option ? options : names).split(" ");
          const key = candidates[name % Math.max(1, candidates.length)];
          const property = { value: option ? odd : value, enumerable: true, configurable: true, writable: true };
          if (key !== undefined) Object.defineProperty(target, key, property);
        }
        try {
          const imported = from(dict as never, more as never);
          heed.createMultiHeadAttention({ numHeads: 2, ...imported }).dispose();
          made++;
        } catch (error) {
          if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
          if (!/^"[^"]+"/.test(error.message)) throw error;
          refused++;
        }
        expect(heed.memory.used).toBe(used);
      }),
      { numRuns: runs(10_000), seed: 12 },
    );
    expect(Math.min(made, refused)).toBeGreaterThan(200);
  });
});
