// The functions of transformer blocks.
import { blocksOf } from "../builds.ts";
import { type Scenarios, copies, random, randomTensor, stateless } from "./scenario.ts";

const dim = 11;
const x = random(7 * dim);
const [weight, bias] = [random(dim, 2), random(dim, 3)];
const tokens = Int32Array.of(3, 0, 4, 4, 1, 2, 3);
const tables = { table: random(5 * dim, 4), positionTable: random(9 * dim, 5), typeTable: random(2 * dim, 6) };
const rows = { positions: 2, seqLen: 7, types: Int32Array.of(0, 0, 1, 1, 0, 1, 0) };

export const blocks: Scenarios = {
  "rmsNorm with its sum": (heed) => {
    const given = { out: random(x.length, 7), sum: random(x.length, 8) };
    return {
      act: () =>
        copies(blocksOf(heed).rmsNorm(x, { weight, residual: random(x.length, 9), unitOffset: true, ...given })),
      state: () => copies(given),
    };
  },
  "layerNorm after a residual": (heed) => {
    const out = randomTensor(heed, x.length, 7);
    const [xIn, residual] = [randomTensor(heed, x.length), randomTensor(heed, x.length, 9)];
    return {
      act: () => [blocksOf(heed).layerNorm(xIn, { weight, bias, residual, out }).out.data.slice()],
      state: () => [out.data.slice()],
    };
  },
  l2Normalize: (heed) => stateless(() => copies(blocksOf(heed).l2Normalize(x, { dim }))),
  "activate in halves": (heed) => {
    const out = random(7 * 5, 7);
    return {
      act: () => copies(blocksOf(heed).activate(random(7 * 10), { activation: "geglu", dim: 5, out })),
      state: () => [out.slice()],
    };
  },
  "activate with up": (heed) =>
    stateless(() => copies(blocksOf(heed).activate(x, { activation: "swiglu", up: random(x.length, 2) }))),
  "embed of arrays": (heed) => {
    const out = random(x.length, 7);
    return {
      act: () => copies(blocksOf(heed).embed(tokens, { dim, ...tables, ...rows, out })),
      state: () => [out.slice()],
    };
  },
  "embed of Tensors": (heed) => {
    const table = randomTensor(heed, 5 * dim, 4);
    const positionTable = randomTensor(heed, 9 * dim, 5);
    return stateless(() => copies(blocksOf(heed).embed(tokens, { dim, table, positionTable, scale: 3 })));
  },
  "pool of packed sequences": (heed) => {
    const cuSeqlens = Int32Array.of(0, 3, 3, 7);
    const keepMask = Uint8Array.of(1, 0, 1, 0, 1, 1, 0);
    return stateless(() =>
      (["mean", "cls", "last"] as const).flatMap((pooling) =>
        copies(blocksOf(heed).pool(x, { dim, cuSeqlens, keepMask, pooling })),
      ),
    );
  },
  "pool of a batch": (heed) => {
    const out = randomTensor(heed, 7 * dim, 7);
    return {
      act: () => copies(blocksOf(heed).pool(x, { dim, batch: 7, lengths: Int32Array.of(1, 0, 1, 1, 1, 0, 1), out })),
      state: () => [out.data.slice()],
    };
  },
  "softmax, scaled": (heed) => {
    const out = random(3 * 271, 7);
    return {
      act: () => copies(blocksOf(heed).softmax(random(3 * 271), { dim: 271, scale: 2, out })),
      state: () => [out.slice()],
    };
  },
  scaleLogits: (heed) =>
    stateless(() => [
      ...copies(blocksOf(heed).scaleLogits(x, { softcap: 2 })),
      ...copies(blocksOf(heed).scaleLogits(x, { scale: 2 })),
    ]),
  sample: (heed) => {
    const given = { tokens: Int32Array.of(7, 7) };
    const options = { vocabSize: 700, seed: 5, topP: 0.95, ...given };
    return { act: () => copies(blocksOf(heed).sample(random(1400), options)), state: () => copies(given) };
  },
  "sample from some": (heed) => {
    const options = { vocabSize: 700, seed: 5, topK: 9, temperature: 0.5 };
    return stateless(() => copies(blocksOf(heed).sample(random(1400), options)));
  },
  "sample from all": (heed) => {
    const options = { vocabSize: 700, seed: Int32Array.of(5, 6), step: 4 };
    const logits = randomTensor(heed, 1400);
    return stateless(() => copies(blocksOf(heed).sample(logits, options)));
  },
};
