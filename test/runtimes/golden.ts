// One small call with its answer written down: two query heads over one KV head, causal, with a sink.
import type { Heed } from "../../bindings/heed.ts";
import type { PlainOptions } from "../support/reference.ts";

const numbers = (length: number, step: number) => Float32Array.from({ length }, (_, i) => (((i * step) % 13) - 6) / 4);

/** Exact in f32. */
export const golden = {
  q: numbers(3 * 2 * 4, 5),
  k: numbers(5 * 4, 7),
  v: numbers(5 * 4, 11),
  options: {
    numHeads: 2,
    numKvHeads: 1,
    headDim: 4,
    causal: true,
    sinks: Float32Array.of(0.5, -1),
  } satisfies PlainOptions,
  /** [3, 2, 4], from the f64 reference; test/attention/golden.test.ts compares. */
  out: [
    -0.3674170688, 0.2876025051, -0.01684549261, 0.2981853334, 0.1442007683, 0.2455397568, -0.234502744, 0.2439907831,
    -0.479667026, -0.3123638638, 0.3455129669, 0.4223910609, -0.5313416378, -0.3546077012, 0.3732319531, 0.5115092667,
    -0.215111749, -0.2390126138, 0.02600575785, 0.02508771196, -0.1944672812, -0.258363927, -0.01876432662,
    0.0002338299481,
  ],
  /** [2, 3] */
  lse: [1.438781758, 1.784376725, 1.929237375, 2.221003126, 1.476953376, 1.683825894],
};

/** Of `angleBits`. */
export const anglesHash = -337198538;

/** A hash of the bits of the cosines and sines that `rotary` turns by: of every size of position, and several bases. */
export function angleBits(heed: Pick<Heed, "rotary">): number {
  const positions = Int32Array.from({ length: 2048 }, (_, n) => (n < 1024 ? n : (n * 2654435761) >> (n % 31)));
  let hash = 0;
  for (const [base, headDim] of [
    [10000, 128],
    [500000, 96],
    [0.01, 10],
  ] as const) {
    // Every pair is (1, 0), and becomes (cos, sin).
    const x = Float32Array.from({ length: positions.length * headDim }, (_, n) => 1 - (n % 2));
    const { out } = heed.rotary(x, { numHeads: 1, headDim, positions, base, interleaved: true });
    for (const bits of new Int32Array(out.buffer, out.byteOffset, out.length)) hash = Math.imul(hash, 31) + bits;
    hash |= 0;
  }
  return hash;
}
