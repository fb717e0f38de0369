import fc from "fast-check";
import { type Problem, problemOf, randomBias, randomMask } from "./problems.ts";
import { integer, floats, uniform } from "./random.ts";
import type { PlainOptions } from "./reference.ts";

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });

/** Which dimensions a broadcast shape drops from the left, and which of the rest it keeps at full size. */
const broadcast = fc.record({
  rank: fc.integer({ min: 0, max: 4 }),
  full: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
});

const recipe = {
  seed: fc.integer(),
  sequences: fc.integer({ min: 1, max: 3 }),
  packed: fc.boolean(),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  seqLenQ: fc.integer({ min: 1, max: 19 }),
  // Beyond 120 keys the kernels take a second step.
  seqLenKv: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 115, max: 250 })),
  headDim: fc.integer({ min: 1, max: 21 }),
  valueDim: fc.integer({ min: 1, max: 21 }),
  layout: fc.constantFrom("blhd" as const, "bhld" as const),
  scale: maybe(fc.constantFrom(-2, -0.3, 0, 0.01, 0.1, 0.7, 1, 2.5)),
  causal: fc.boolean(),
  queryOffset: fc.constantFrom("default", "number", "each"),
  offset: fc.integer({ min: -9, max: 60 }),
  window: maybe(fc.record({ left: maybe(fc.nat(40)), right: maybe(fc.nat(40)) })),
  kvLengths: fc.boolean(),
  keepMask: maybe(broadcast),
  bias: maybe(broadcast),
  masked: fc.constantFrom(0, 0.3),
  alibiSlopes: fc.constantFrom("none", "heads", "each"),
  softcap: maybe(fc.constantFrom(0.25, 1, 7, 20)),
  sinks: fc.boolean(),
};

/** Problems with any combination of options, small and seeded; about half of them are packed sequences. */
export const combinations = combinationsOf({});

/** The same, with other arbitraries for some of the recipe. */
export function combinationsOf(chosen: Partial<typeof recipe>): fc.Arbitrary<Problem> {
  return fc.record({ ...recipe, ...chosen }).map((made) => problemFrom(made));
}

type Made = { [Name in keyof typeof recipe]: (typeof recipe)[Name] extends fc.Arbitrary<infer T> ? T : never };

function problemFrom(made: Made): Problem {
  const {
    seed,
    sequences,
    packed,
    numKvHeads,
    group,
    seqLenQ,
    seqLenKv,
    headDim,
    valueDim,
    offset,
    masked,
    ...chosen
  } = made;
  const next = uniform(seed);
  const numHeads = numKvHeads * group;
  const batch = packed ? 1 : sequences;
  const cuSeqlensQ = starts(sequences, seqLenQ, next);
  const cuSeqlensKv = starts(sequences, seqLenKv, next);
  const lengthOf = (s: number) => (packed ? cuSeqlensKv[s + 1]! - cuSeqlensKv[s]! : seqLenKv);
  const shapeOf = ({ rank, full }: { rank: number; full: boolean[] }) =>
    [batch, numHeads, seqLenQ, seqLenKv].map((size, n) => (full[n] ? size : 1)).slice(4 - rank);
  const options: Partial<PlainOptions> = { layout: chosen.layout, causal: chosen.causal };
  if (packed) Object.assign(options, { cuSeqlensQ, cuSeqlensKv });
  if (chosen.scale !== undefined) options.scale = chosen.scale;
  if (chosen.queryOffset === "number") options.queryOffset = offset;
  if (chosen.queryOffset === "each") {
    options.queryOffset = Int32Array.from({ length: sequences }, () => integer(-9, 60, next));
  }
  if (chosen.window) options.window = chosen.window;
  if (chosen.kvLengths) {
    options.kvLengths = Int32Array.from({ length: sequences }, (_, s) => integer(0, lengthOf(s), next));
  }
  if (chosen.keepMask) options.keepMask = randomMask(shapeOf(chosen.keepMask), seed);
  if (chosen.bias) options.bias = randomBias(shapeOf(chosen.bias), masked, seed);
  if (chosen.alibiSlopes !== "none") {
    const count = chosen.alibiSlopes === "each" ? sequences * numHeads : numHeads;
    options.alibiSlopes = Float32Array.from({ length: count }, () => next());
  }
  if (chosen.softcap) options.softcap = chosen.softcap;
  if (chosen.sinks) options.sinks = floats(numHeads, next);
  return problemOf({ batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim, valueDim }, options, seed);
}

/** [sequences + 1] row numbers that rise from 0 to `rows`; empty sequences occur. */
function starts(sequences: number, rows: number, next: () => number): Int32Array {
  const cuts = Array.from({ length: sequences - 1 }, () => integer(0, rows, next));
  return Int32Array.from([0, ...cuts.sort((a, b) => a - b), rows]);
}
