// What attentionWeights refuses, and how it says so.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { problemOf } from "../support/problems.ts";
import { weigh } from "../support/weights-model.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);

forEachBuild((_, open) => {
  const heed = open();

  describe("is refused", () => {
    const problem = problemOf({});
    const live = heed.tensor(8);
    const gone = heed.tensor(2 * 4 * 13);
    gone.dispose();
    it.each<[string, object, typeof TypeError | typeof RangeError | typeof ReferenceError, string]>([
      ["rows of floats", { rows: f32(1) }, TypeError, '"rows" expected an Int32Array or an array of integers'],
      ["a row that is no number", { rows: ["1"] }, TypeError, '"rows[0]" expected an integer, got "1"'],
      ["a row that is none", { rows: [0, 13] }, RangeError, '"rows[1]" expected an integer from 0 to 12'],
      ["a negative row", { rows: Int32Array.of(-1) }, RangeError, '"rows[0]"'],
      ["half a head", { heads: [0.5] }, RangeError, '"heads[0]"'],
      ["a head that is none", { heads: [4] }, RangeError, '"heads[0]" expected an integer from 0 to 3'],
      ["lse: true", { lse: true }, TypeError, '"lse" expected a Float32Array or a Tensor, got true'],
      [
        "an lse of the chosen rows alone",
        { lse: new Float32Array(8), rows: [1] },
        RangeError,
        '"lse" expected a length of 104',
      ],
      ["a disposed lse", { lse: gone }, ReferenceError, '"lse"'],
      ["an unknown reduction", { reduce: "sum" }, RangeError, '"reduce" expected "mean" or "keySum", got "sum"'],
      ["topK 0", { topK: 0 }, RangeError, '"topK" expected an integer of at least 1, got 0'],
      ["topK a string", { topK: "1" }, TypeError, '"topK"'],
      ["indices without topK", { indices: new Int32Array(1) }, TypeError, '"topK" expected an integer beside indices'],
      ["indices of floats", { topK: 1, indices: f32(1) }, TypeError, '"indices" expected an Int32Array'],
      [
        "too few indices",
        { topK: 1, indices: new Int32Array(1) },
        RangeError,
        '"indices" expected a length of 104 (batch × heads × rows × topK), got 1',
      ],
      ["an unknown stage", { stage: "raw" }, RangeError, '"stage"'],
      [
        "a stage beside reduce",
        { stage: "masked", reduce: "mean" },
        RangeError,
        '"stage" expected "softmax" beside reduce, got "masked"',
      ],
      ["a stage beside topK", { stage: "scores", topK: 1 }, RangeError, '"stage" expected "softmax" beside topK'],
      [
        "a stage beside entropy",
        { stage: "scores", entropy: true },
        RangeError,
        '"stage" expected "softmax" beside entropy',
      ],
      [
        "a stage beside lse",
        { stage: "softcap", lse: new Float32Array(104) },
        RangeError,
        '"stage" expected "softmax" beside lse',
      ],
      [
        "entropy of the wrong length",
        { entropy: f32(1), rows: [0] },
        RangeError,
        '"entropy" expected a length of 8 (batch × heads × rows), got 1',
      ],
      [
        "weights of the wrong length",
        { weights: f32(1), reduce: "mean" },
        RangeError,
        '"weights" expected a length of 754 (batch × rows × seqLenKv), got 1',
      ],
      ["weights that are true", { weights: true }, TypeError, '"weights"'],
      ["out", { out: f32(1) }, TypeError, '"out" is no option of attentionWeights; did you mean "weights"?'],
      ["what attention refuses", { scale: NaN }, RangeError, '"scale"'],
    ])("%s", (_, options, kind, message) => {
      const { used } = heed.memory;
      const places = {
        weights: new Float32Array(2 * 4 * 13 * 29).fill(7),
        entropy: new Float32Array(2 * 4 * 13).fill(7),
      };
      // As long as the answer where all rows and heads are asked for.
      const into = ["rows", "heads", "reduce", "topK", "stage"].some((name) => name in options) ? {} : places;
      const call = () => weigh(heed, problem, { ...into, ...options });
      expect(call).toThrow(kind);
      expect(call).toThrow(message);
      expect([...places.weights, ...places.entropy].every((x) => x === 7)).toBe(true);
      expect(heed.memory.used).toBe(used);
      expect(weigh(heed, problem).weights.length).toBe(2 * 4 * 13 * 29);
    });

    it("a target that lies over what is read", () => {
      const options = { numHeads: 1, headDim: 8 };
      const [q, k] = [f32(...Array<number>(8).fill(1)), f32(...Array<number>(64).fill(1))];
      expect(() => heed.attentionWeights(live, k, { ...options, weights: live })).toThrow(
        '"weights" expected memory apart from "q"',
      );
      const both = new Float32Array(8);
      expect(() => heed.attentionWeights(q, k, { ...options, weights: both, entropy: both.subarray(7) })).toThrow(
        '"weights" expected memory apart from "entropy"',
      );
      expect(() => heed.attentionWeights(q, k.subarray(1), options)).toThrow(
        new RangeError('"k" expected a length divisible by 8 (numKvHeads × headDim), got 63'),
      );
    });
  });
});
