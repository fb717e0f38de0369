// A layer that generates through a cache, against f64: prompts and tokens, a context that is projected once, windows.
import { describe, expect, it } from "vitest";
import { maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { type PlainForward, layerReference, makeLayer } from "../support/layer.ts";
import { floats, uniform } from "../support/random.ts";

forEachBuild((_, open) => {
  const heed = open();

  describe("generation through a cache", () => {
    it.each([
      ["rotary, GQA", { numKvHeads: 2 }, { rotary: { base: 100 } }],
      ["heads of odd sizes, without rotary", { numKvHeads: 1, headDim: 5, valueDim: 7 }, {}],
    ])("prompt and then token by token equal the whole text at once: %s", (_, sizes, more) => {
      const { layer, dims, weights } = makeLayer(heed, sizes, more);
      const [batch, prompt, tokens] = [2, 13, 6];
      const total = prompt + tokens;
      const x = floats(batch * total * dims.embedDim, uniform(8));
      const rotary = "rotary" in more ? more.rotary : undefined;
      const plain: PlainForward = { batch, attention: { causal: true }, ...(rotary && { rotary }) };
      const exact = layerReference(x, weights, dims, plain);
      const naive = layerReference(x, weights, dims, plain, Math.fround);
      const rowsOf = (all: ArrayLike<number>, from: number, to: number, width: number) =>
        Float64Array.from({ length: batch * (to - from) * width }, (_, at) => {
          const row = Math.floor(at / width);
          const [b, i] = [Math.floor(row / (to - from)), row % (to - from)];
          return all[(b * total + from + i) * width + (at % width)]!;
        });

      const cache = layer.createCache({ capacity: total, batch });
      const got = new Float64Array(exact.out.length);
      for (let from = 0; from < total;) {
        const to = from === 0 ? prompt : from + 1;
        const { out } = layer.forward(Float32Array.from(rowsOf(x, from, to, dims.embedDim)), { cache, causal: true });
        for (let b = 0; b < batch; b++) {
          const width = (to - from) * dims.outDim;
          got.set(out.subarray(b * width, (b + 1) * width), (b * total + from) * dims.outDim);
        }
        from = to;
      }
      expect(cache.length).toBe(total);
      expect(maxError(got, exact.out)).toBeLessThanOrEqual(2 * maxError(naive.out, exact.out));
      cache.dispose();
      layer.dispose();
    });

    it("takes prompts of different lengths, and stands behind each of them", () => {
      const { layer, dims, weights } = makeLayer(heed, { numKvHeads: 2 }, { rotary: true });
      const lengths = Int32Array.of(5, 9);
      const next = uniform(9);
      const prompts = floats(2 * 9 * dims.embedDim, next);
      const tokens = floats(2 * 2 * dims.embedDim, next);
      const cache = layer.createCache({ capacity: 20, batch: 2 });
      const first = layer.forward(prompts, { cache, causal: true, lengths, lse: true });
      const second = layer.forward(tokens, { cache, causal: true, lse: true });
      expect(cache.lengths).toEqual(Int32Array.of(7, 11));
      for (const b of [0, 1]) {
        const ofPrompt = prompts.subarray(b * 9 * dims.embedDim, (b * 9 + lengths[b]!) * dims.embedDim);
        const x = Float32Array.of(...ofPrompt, ...tokens.subarray(b * 2 * dims.embedDim, (b + 1) * 2 * dims.embedDim));
        const plain: PlainForward = { batch: 1, attention: { causal: true }, rotary: {} };
        const exact = layerReference(x, weights, dims, plain);
        const naive = layerReference(x, weights, dims, plain, Math.fround);
        const budget = 2 * maxError(naive.out, exact.out);
        const at = b * 9 * dims.outDim;
        const split = lengths[b]! * dims.outDim;
        expect(maxError(first.out.subarray(at, at + split), exact.out.subarray(0, split))).toBeLessThanOrEqual(budget);
        const last = second.out.subarray(b * 2 * dims.outDim, (b + 1) * 2 * dims.outDim);
        expect(maxError(last, exact.out.subarray(split))).toBeLessThanOrEqual(budget);
      }
      cache.dispose();
      layer.dispose();
    });

    it("projects a context once and attends to it as often as asked", () => {
      const { layer, dims } = makeLayer(heed, { kvDim: { k: 30, v: 30 } });
      const next = uniform(10);
      const context = floats(2 * 17 * 30, next);
      const [one, two] = [floats(2 * 3 * dims.embedDim, next), floats(2 * dims.embedDim, next)];
      const cache = layer.createCache({ capacity: 17, batch: 2 });
      expect(layer.forward(one, { cache, context }).out).toEqual(layer.forward(one, { batch: 2, context }).out);
      const { out } = layer.forward(two, { cache, append: false });
      const again = layer.forward(two, { batch: 2, context }).out;
      expect(maxError(out, again)).toBeLessThan(1e-5);
      expect(cache.length).toBe(17);
      cache.dispose();
      layer.dispose();
    });

    it("has the window of the layer, unless one is given", () => {
      const windowOf = (more: object, given: object = {}) => {
        const { layer } = makeLayer(heed, {}, more);
        using cache = layer.createCache({ capacity: 9, ...given });
        layer.dispose();
        return cache.window;
      };
      expect(windowOf({})).toBe(Infinity);
      expect(windowOf({ causal: true })).toBe(Infinity);
      expect(windowOf({ window: { left: 30 } })).toBe(30);
      expect(windowOf({ window: { left: 0, right: 3 }, causal: true })).toBe(0);
      expect(windowOf({ window: { right: 3 } })).toBe(Infinity);
      expect(windowOf({ window: { left: Infinity } })).toBe(Infinity);
      expect(windowOf({ window: { left: 30 } }, { window: undefined })).toBe(30);
      expect(windowOf({ window: { left: 30 } }, { window: 500 })).toBe(500);
      expect(windowOf({ window: { left: 30 } }, { window: Infinity })).toBe(Infinity);
    });

    it("stores what the dtype of the cache says, in constant memory with a window", () => {
      const { layer, dims } = makeLayer(heed, { numKvHeads: 2 }, { rotary: true, window: { left: 30 } });
      const cache = layer.createCache({ capacity: 1000, dtype: "int8" });
      const plain = layer.createCache({ capacity: 1000, window: Infinity });
      const next = uniform(11);
      let bytes = 0;
      for (let token = 0; token < 400; token++) {
        const x = floats(dims.embedDim, next);
        const { out } = layer.forward(x, { cache, causal: true });
        const exact = layer.forward(x, { cache: plain, causal: true }).out;
        expect(maxError(out, exact)).toBeLessThan(0.1);
        if (token === 200) bytes = cache.bytes;
      }
      expect(cache.bytes).toBeLessThanOrEqual(bytes);
      expect(plain.bytes).toBe(4 * 128 * 2 * 16 * 4);
      cache.dispose();
      plain.dispose();
      layer.dispose();
    });
  });
});
