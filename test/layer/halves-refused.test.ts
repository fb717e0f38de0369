// What linear, packLinear and layers refuse of 16 bits, by name; and nothing is left in memory.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";

forEachBuild((_, open) => {
  const heed = open();

  describe("refuses, and changes nothing", () => {
    const bits = new Uint16Array(8);
    const half = { data: bits, dtype: "bf16" } as const;
    const short = { data: new Uint16Array(7), dtype: "f16" } as const;
    const plain = new Float32Array(8);
    const linear = (operands: object, options: object = {}): (() => unknown) => {
      const { x, weight, bias } = { x: plain, weight: plain, bias: undefined, ...operands } as never;
      return () => heed.linear(x, weight, bias, { inFeatures: 8, ...options });
    };
    const layerOf = (options: object): (() => unknown) => {
      return () => {
        const weights = { q: { weight: plain }, k: { weight: plain }, v: { weight: plain }, out: { weight: plain } };
        using layer = heed.createMultiHeadAttention({ embedDim: 8, numHeads: 1, headDim: 1, weights });
        const { x, ...others } = { x: plain, ...options };
        return layer.forward(x, others);
      };
    };
    it.each<[string, () => unknown, typeof TypeError | typeof RangeError, string]>([
      [
        "a bare Uint16Array as x",
        linear({ x: bits }),
        TypeError,
        '"x" expected a Float32Array or a Tensor, or 16 bits',
      ],
      ["an unknown dtype of x", linear({ x: { data: bits, dtype: "f8" } }), RangeError, '"x.dtype" expected "f16" or'],
      ["f32 as a dtype", linear({ x: { data: bits, dtype: "f32" } }), RangeError, '"x.dtype" expected "f16" or "bf16"'],
      ["floats with a dtype as x", linear({ x: { data: plain, dtype: "f16" } }), TypeError, '"x" expected'],
      ["a short x", linear({ x: short }), RangeError, '"x" expected a length divisible by 8'],
      [
        "a weight without its dtype",
        linear({ weight: { data: bits, shape: [1, 8] } }),
        TypeError,
        '"weight.data" expec',
      ],
      [
        "a weight of an unknown dtype",
        linear({ weight: { data: bits, dtype: "BF16", shape: [1, 8] } }),
        RangeError,
        '"weight.dtype" expected "f16" or "bf16", got "BF16"',
      ],
      ["a short weight", linear({ weight: short }), RangeError, '"weight" expected a length divisible by 8'],
      [
        "a shape of more",
        linear({ weight: { ...half, shape: [2, 8] } }),
        RangeError,
        '"weight.data" expected a length',
      ],
      ["a short bias", linear({ bias: short }, { outFeatures: 1 }), RangeError, '"bias" expected a length of 1'],
      ["a bias of an unknown dtype", linear({ bias: { data: bits, dtype: 16 } }), TypeError, '"bias.dtype" expected'],
      ["a short residual", linear({}, { residual: short }), RangeError, '"residual" expected a length of 1'],
      ["a short out", linear({}, { out: short }), RangeError, '"out" expected a length of 1'],
      ["a bare Uint16Array as out", linear({}, { out: bits }), TypeError, '"out" expected a Float32Array'],
      [
        "a packed weight of an unknown dtype",
        () => heed.packLinear({ data: bits, dtype: "f32" } as never, undefined, { inFeatures: 8 }),
        RangeError,
        '"weight.dtype" expected "f16" or "bf16"',
      ],
      [
        "NaN in a weight that becomes int8",
        () =>
          heed.packLinear({ data: bits.slice().fill(0x7fc0), dtype: "bf16", shape: [1, 8] }, undefined, {
            dtype: "int8",
          }),
        RangeError,
        '"weight" expected finite numbers, got NaN',
      ],
      [
        "a layer's x without its dtype",
        layerOf({ x: bits }),
        TypeError,
        '"x" expected a Float32Array or a Tensor, or 16',
      ],
      [
        "a context of an unknown dtype",
        layerOf({ context: { data: bits, dtype: "f8" } }),
        RangeError,
        '"context.dtype"',
      ],
      ["one for k", layerOf({ context: { k: { data: bits, dtype: 1 }, v: plain } }), TypeError, '"context.k.dtype"'],
      ["a layer's short out", layerOf({ out: short }), RangeError, '"out" expected a length of 8'],
      ["lse in 16 bits", layerOf({ lse: half }), TypeError, '"lse" expected a Float32Array or a Tensor'],
    ])("%s", (_, call, error, message) => {
      const { used } = heed.memory;
      expect(call).toThrow(error);
      expect(call).toThrow(message);
      expect(heed.memory.used).toBe(used);
    });

    it("memory of a residual that out would overwrite in another type", () => {
      using out = heed.tensor(8, "bf16");
      const residual = { data: out.data, dtype: "f16" } as const;
      const call = (): unknown => heed.linear(plain, Float32Array.of(1), undefined, { inFeatures: 1, residual, out });
      expect(call).toThrow(RangeError);
      expect(call).toThrow('"out" expected memory apart from "residual"');
    });
  });
});
