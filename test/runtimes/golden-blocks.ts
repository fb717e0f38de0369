// As golden-bits.ts, for the functions of heed/transformer.
import type { Blocks } from "heed/transformer";
import { type Numbers, numbers } from "./golden-bits.ts";

const dim = 77;
const [x, residual, weight, bias] = [numbers(9 * dim, 1), numbers(9 * dim, 2), numbers(dim, 3), numbers(dim, 4)];
const tokens = Int32Array.of(5, 0, 9, 3, 3, 7);

/** What is hashed for each function. */
export const goldenBlocks: Record<string, (blocks: Blocks) => Numbers[]> = {
  rmsNorm: (blocks) => {
    const { out, sum } = blocks.rmsNorm(x, { weight, residual, sum: true, unitOffset: true });
    return [out, sum];
  },
  layerNorm: (blocks) => [blocks.layerNorm(x, { weight, bias, residual }).out],
  l2Normalize: (blocks) => [blocks.l2Normalize(x, { dim }).out],
  activate: (blocks) => [
    ...(["relu", "silu", "gelu", "gelu-tanh"] as const).map((activation) => blocks.activate(x, { activation }).out),
    ...(["swiglu", "geglu", "geglu-tanh"] as const).map(
      (activation) => blocks.activate(x, { activation, up: residual }).out,
    ),
    blocks.activate(numbers(9 * 26, 6), { activation: "swiglu", dim: 13 }).out,
  ],
  embed: (blocks) => {
    const tables = { table: numbers(10 * dim, 5), positionTable: numbers(6 * dim, 6), typeTable: weight };
    return [blocks.embed(tokens, { dim, scale: 8.8, ...tables }).out];
  },
  pool: (blocks) =>
    (["mean", "cls", "last"] as const).map(
      (pooling) => blocks.pool(x, { dim, pooling, cuSeqlens: Int32Array.of(0, 2, 2, 9) }).out,
    ),
  softmax: (blocks) => [blocks.softmax(numbers(3 * 1001, 7), { dim: 1001, scale: 3 }).out],
  scaleLogits: (blocks) => [blocks.scaleLogits(x, { scale: 3, softcap: 2.5 }).out],
  sample: (blocks) =>
    [{}, { topK: 40 }, { topP: 0.8 }, { topK: 300, topP: 0.9, temperature: 0.7 }, { temperature: 0 }].map(
      (options) =>
        blocks.sample(numbers(20 * 1001, 8), { vocabSize: 1001, seed: 2 ** 40 + 3, step: 9, ...options }).tokens,
    ),
};

/** The hashes of the simd build. */
export const goldenBlockHashes: Record<string, number> = {
  rmsNorm: -1405853898,
  layerNorm: 379800820,
  l2Normalize: -1516253234,
  activate: -1744279640,
  embed: 1129046404,
  pool: 809736609,
  softmax: 2053055061,
  scaleLogits: 1332287087,
  sample: 1994116563,
};
