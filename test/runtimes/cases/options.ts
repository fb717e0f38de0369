// heed.attention: a call whose answer is written down, each option, and results in tensors.
import { maxError } from "../../support/distance.ts";
import { naive } from "../../support/naive.ts";
import { type Sizes, problemOf, randomBias, randomMask } from "../../support/problems.ts";
import type { PlainOptions } from "../../support/reference.ts";
import { golden } from "../golden.ts";
import {
  type Cases,
  type Tensor,
  attend,
  expect,
  expectRight,
  expectWithin,
  sizes,
  small,
  withHeed,
} from "./expect.ts";

const scores = [2, 4, 5, 9];

/** One of each option: the sizes where they differ, and the options. */
const options: Record<string, [Sizes, Partial<PlainOptions>?]> = {
  numKvHeads: [{ numKvHeads: 2 }],
  valueDim: [{ valueDim: 7 }],
  layout: [{}, { layout: "bhld" }],
  scale: [{}, { scale: 0.7 }],
  causal: [{}, { causal: true }],
  queryOffset: [{}, { causal: true, queryOffset: Int32Array.of(-1, 3) }],
  window: [{}, { window: { left: 2, right: 1 } }],
  kvLengths: [{}, { kvLengths: Int32Array.of(9, 4) }],
  keepMask: [{}, { keepMask: randomMask([2, 1, 5, 9]) }],
  bias: [{}, { bias: randomBias(scores, 0.2) }],
  alibiSlopes: [{}, { alibiSlopes: Float32Array.of(0.5, 0.25, 0.125, 0.0625) }],
  softcap: [{}, { softcap: 2 }],
  sinks: [{}, { sinks: Float32Array.of(0, 1, -1, 2) }],
  reproducible: [{ seqLenQ: 1, headDim: 16 }, { reproducible: true }],
  cuSeqlens: [
    { batch: 1, seqLenQ: 8, seqLenKv: 11 },
    { cuSeqlensQ: Int32Array.of(0, 3, 8), cuSeqlensKv: Int32Array.of(0, 7, 11) },
  ],
};

export const optionCases: Cases = {
  "the golden vector": () =>
    withHeed((heed) => {
      const { q, k, v } = golden;
      const got = heed.attention(q, k, v, { ...golden.options, lse: true });
      const plain = naive(q, k, v, golden.options);
      expectWithin(maxError(got.out, golden.out), 2 * maxError(plain.out, golden.out), "out");
      expectWithin(maxError(got.lse, golden.lse), 2 * maxError(plain.lse, golden.lse), "lse");
    }),

  ...Object.fromEntries(
    Object.entries(options).map(([name, [changed, chosen]]) => [
      `option ${name}`,
      () => withHeed((heed) => attend(heed, problemOf({ ...sizes, ...changed }, chosen))),
    ]),
  ),

  "options out and lse, with tensors": () =>
    withHeed((heed) => {
      const { q, k, v } = small;
      const tensors = [q, k, v, q, new Float32Array(2 * 4 * 5)].map((array) => {
        const tensor = heed.tensor(array.length);
        tensor.data.set(array);
        return tensor;
      });
      const [tq, tk, tv, out, lse] = tensors as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const result = heed.attention(tq, tk, tv, { numHeads: 4, headDim: 12, batch: 2, out, lse });
      expect(result.out === out && result.lse === lse, "the tensors given");
      expectRight(small, { out: out.data, lse: lse.data });
    }),
};
