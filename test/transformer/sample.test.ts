// blocks.sample: what may be drawn, how often, and what decides it.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { softmaxReference } from "../support/blocks.ts";
import { blocksOf, forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

/** `rows` times the same logits. */
const repeated = (logits: Float32Array, rows: number): Float32Array => {
  const all = new Float32Array(rows * logits.length);
  for (let row = 0; row < rows; row++) all.set(logits, row * logits.length);
  return all;
};

/** The tokens that temperature, then topK, then topP leave, the most probable first. */
function allowed(logits: Float32Array, temperature: number, topK: number, topP: number): number[] {
  const p = softmaxReference(logits, logits.length, 1 / temperature);
  const order = [...p.keys()].sort((a, b) => p[b]! - p[a]! || a - b).slice(0, topK);
  const total = order.reduce((sum, token) => sum + p[token]!, 0);
  let sum = 0;
  const end = order.findIndex((token) => (sum += p[token]!) >= topP * total);
  return order.slice(0, end < 0 ? order.length : end + 1);
}

forEachBuild((name, open) => {
  const heed = open();
  const blocks = blocksOf(heed);

  it("at temperature 0 takes the first of the largest logits, without a seed", () => {
    const logits = Float32Array.of(1, 3, 3, -Infinity, -1, -2, -1, -3);
    expect(blocks.sample(logits, { vocabSize: 4, temperature: 0 }).tokens).toEqual(Int32Array.of(1, 0));
    // Logits so near that their powers are equal.
    const near = Float32Array.of(1, 1 + 2 ** -23);
    expect(blocks.sample(near, { vocabSize: 2, temperature: 0, topK: 1 }).tokens[0]).toBe(1);
  });

  it("draws tokens as often as they are probable", () => {
    const logits = Float32Array.of(0, 1, -Infinity, 2, 0.5, -3);
    const rows = 20_000;
    for (const [options, count] of [
      [{}, 5],
      [{ temperature: 0.5 }, 5],
      [{ topK: 3 }, 3],
      [{ topP: 0.8 }, 3],
      [{ topK: 4, topP: 0.85, temperature: 2 }, 4],
    ] as const) {
      const { temperature = 1, topK = 6, topP = 1 } = options as { temperature?: number; topK?: number; topP?: number };
      const { tokens } = blocks.sample(repeated(logits, rows), { vocabSize: 6, seed: 42, ...options });
      const kept = allowed(logits, temperature, topK, topP);
      expect(kept).toHaveLength(count);
      const p = softmaxReference(logits, 6, 1 / temperature);
      const total = kept.reduce((sum, token) => sum + p[token]!, 0);
      let chiSquared = 0;
      for (let token = 0; token < 6; token++) {
        const got = tokens.filter((other) => other === token).length;
        const expected = kept.includes(token) ? (rows * p[token]!) / total : 0;
        if (expected === 0) expect(got).toBe(0);
        else chiSquared += (got - expected) ** 2 / expected;
      }
      // At most four degrees of freedom: above this by chance once in ten thousand times.
      expect(chiSquared).toBeLessThan(23.5);
    }
  });

  it("draws from what temperature, topK and topP leave, whatever they are", () => {
    const shapes = fc.record({
      seed: fc.nat(),
      vocabSize: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.constantFrom(255, 256, 257, 3000)),
      temperature: fc.constantFrom(0.1, 1, 5, 1e-6),
      topK: fc.constantFrom(undefined, 1, 5, 300),
      topP: fc.constantFrom(undefined, 1e-3, 0.5, 0.97),
      size: fc.constantFrom(0.01, 1, 3),
    });
    const property = fc.property(shapes, ({ seed, vocabSize, temperature, topK, topP, size }) => {
      const logits = floats(vocabSize, uniform(seed)).map((value) => size * value);
      const { used } = heed.memory;
      const { tokens } = blocks.sample(repeated(logits, 8), { vocabSize, temperature, topK, topP, seed });
      expect(heed.memory.used).toBe(used);
      // In f32 the last one may be the next, or one that is as probable.
      const kept = allowed(logits, temperature, topK ?? vocabSize, Math.min(1, (topP ?? 1) + 1e-5));
      const p = softmaxReference(logits, vocabSize, 1 / temperature);
      const least = p[kept.at(-1)!]! * (1 - 1e-5);
      for (const token of tokens) expect(p[token]).toBeGreaterThanOrEqual(least);
    });
    fc.assert(property, { seed: 20261128, numRuns: runs(name === "debug" ? 50 : 200) });
  });

  it("reaches the last of many tokens that topP leaves", () => {
    const vocabSize = 5000;
    const { tokens } = blocks.sample(new Float32Array(400 * vocabSize), { vocabSize, topP: 0.9, seed: 3 });
    // All are as probable: the first 4500 are left, and the draws lie evenly among them.
    expect(Math.max(...tokens)).toBeLessThan(4501);
    expect(Math.max(...tokens)).toBeGreaterThan(4400);
    expect(Math.min(...tokens)).toBeLessThan(100);
  });

  describe("what decides", () => {
    const vocabSize = 1000;
    const logits = floats(vocabSize, uniform(1));
    const draw = (options: object, rows = 1, input: Float32Array = repeated(logits, rows)) =>
      blocks.sample(input, { vocabSize, seed: 1, ...options }).tokens;

    it("is the seed, the step and the number of the row", () => {
      expect(draw({}, 20)).toEqual(draw({}, 20));
      const distinct = (all: Int32Array[]) => new Set(all.map(String)).size;
      expect(distinct([0, 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1].map((seed) => draw({ seed }, 5)))).toBe(5);
      expect(distinct([0, 1, 2, 3].map((step) => draw({ step }, 5)))).toBe(4);
      expect(new Set(draw({}, 20)).size).toBeGreaterThan(15);
    });

    it("is with a seed for each row not the number of the row", () => {
      const seed = Int32Array.of(7, -1, 7, 8);
      const tokens = draw({ seed, step: 3 }, 4);
      expect(tokens[2]).toBe(tokens[0]);
      for (const [row, one] of seed.entries()) expect(draw({ seed: Int32Array.of(one), step: 3 })[0]).toBe(tokens[row]);
      expect(draw({ seed: 8, step: 3 })[0]).toBe(tokens[3]);
    });

    it("is not how logits come, nor what lies beside them", () => {
      using tensor = heed.tensor(3 * vocabSize);
      tensor.data.set(repeated(logits, 3));
      const given = new Int32Array(3);
      const result = blocks.sample(tensor, { vocabSize, seed: 1, topP: 0.9, tokens: given });
      expect(result.tokens).toBe(given);
      const other = repeated(logits, 3).fill(5, vocabSize, 2 * vocabSize);
      for (const row of [0, 2]) expect(draw({ topP: 0.9 }, 3, other)[row]).toBe(given[row]);
      expect(draw({ topP: 0.9 }, 3)).toEqual(given);
      expect(tensor.data).toEqual(repeated(logits, 3));
    });
  });

  it.each([[NaN], [Infinity], [-Infinity]])("refuses a row whose largest logit is %s, and writes nothing", (value) => {
    const logits = Float32Array.of(1, 2, value, value);
    for (const options of [{ seed: 1 }, { temperature: 0 }, { seed: 1, topK: 1 }]) {
      const tokens = Int32Array.of(7, 7);
      const { used } = heed.memory;
      expect(() => blocks.sample(logits, { vocabSize: 2, tokens, ...options })).toThrow(
        /^"logits" expected rows without NaN whose largest value is finite, got another row 1$/,
      );
      expect(tokens).toEqual(Int32Array.of(7, 7));
      expect(heed.memory.used).toBe(used);
    }
  });
});
