// Parts of a problem, as problems of their own: some KV heads with their query heads, some queries, of one sequence;
// and ways to compute them. A row must have the same bits in all of them.
import fc from "fast-check";
import { expect } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { Dtype } from "./kv-model.ts";
import type { Problem } from "./problems.ts";
import { integer, uniform } from "./random.ts";
import type { PlainOptions } from "./reference.ts";

/** What a part takes: of one sequence the KV heads and the queries [from, to). */
export interface Cut {
  sequence: number;
  kvHeads: readonly [number, number];
  queries: readonly [number, number];
}

/** A part of a problem, in layout "blhd" and batch 1, and where its rows stand in the whole. */
export interface Part {
  problem: Problem;
  /** For each query of the part and each of its heads: the row of out, and the place in lse, of the whole. */
  places: { out: number; lse: number }[];
}

/** The lengths of the sequences of a problem. */
export function sequencesOf({
  q,
  k,
  options,
}: Problem): { startQ: number; seqLenQ: number; startKv: number; seqLenKv: number }[] {
  const { numHeads, headDim, numKvHeads = numHeads, batch = 1, kvLengths, cuSeqlensQ } = options;
  const cuSeqlensKv = options.cuSeqlensKv ?? cuSeqlensQ;
  const rowsQ = q.length / (batch * numHeads * headDim);
  const rowsKv = k.length / (batch * numKvHeads * headDim);
  return Array.from({ length: cuSeqlensQ ? cuSeqlensQ.length - 1 : batch }, (_, s) => {
    const [startQ, startKv] = [cuSeqlensQ?.[s] ?? 0, cuSeqlensKv?.[s] ?? 0];
    const seqLenKv = kvLengths?.[s] ?? (cuSeqlensKv?.[s + 1] ?? rowsKv) - startKv;
    return { startQ, seqLenQ: (cuSeqlensQ?.[s + 1] ?? rowsQ) - startQ, startKv, seqLenKv };
  });
}

/** One part of a problem. */
export function partOf(whole: Problem, { sequence, kvHeads, queries }: Cut): Part {
  const { q, k, v, options } = whole;
  const { numHeads, headDim, numKvHeads = numHeads, valueDim = headDim, batch = 1, layout = "blhd" } = options;
  const { keepMask, bias, alibiSlopes, sinks, queryOffset, cuSeqlensQ } = options;
  const group = numHeads / numKvHeads;
  const rowsQ = q.length / (batch * numHeads * headDim);
  const rowsKv = k.length / (batch * numKvHeads * headDim);
  const { startQ, seqLenQ, startKv, seqLenKv } = sequencesOf(whole)[sequence]!;
  const b = cuSeqlensQ ? 0 : sequence;
  const rowAt = (row: number, rows: number, head: number, heads: number) =>
    layout === "blhd" ? (b * rows + row) * heads + head : (b * heads + head) * rows + row;
  const [heads, ownQueries, keys] = [
    span(kvHeads[0] * group, kvHeads[1] * group),
    span(startQ + queries[0], startQ + queries[1]),
    span(startKv, startKv + seqLenKv),
  ];
  const rowsOf = (from: Float32Array, dim: number, rows: readonly number[]) => {
    const picked = new Float32Array(rows.length * dim);
    rows.forEach((row, n) => picked.set(from.subarray(row * dim, (row + 1) * dim), n * dim));
    return picked;
  };
  const qRows = ownQueries.flatMap((i) => heads.map((h) => rowAt(i, rowsQ, h, numHeads)));
  const kvRows = keys.flatMap((j) => span(...kvHeads).map((h) => rowAt(j, rowsKv, h, numKvHeads)));

  const shape = [batch, numHeads, rowsQ, rowsKv];
  const cellsOf = <Data extends Float32Array | Uint8Array>(data: Data, from: readonly number[], to: Data): Data => {
    let n = 0;
    for (const h of heads) {
      for (const i of ownQueries) for (const j of keys) to[n++] = data[placeOf([b, h, i, j], from, shape)]!;
    }
    return to;
  };
  const cells = heads.length * ownQueries.length * keys.length;
  const ownShape = [heads.length, ownQueries.length, keys.length];
  const offset = (typeof queryOffset === "number" ? queryOffset : queryOffset?.[sequence]) ?? seqLenKv - seqLenQ;
  const firstSlope = (alibiSlopes && alibiSlopes.length > numHeads ? sequence * numHeads : 0) + heads[0]!;
  const own: PlainOptions = {
    numHeads: heads.length,
    numKvHeads: kvHeads[1] - kvHeads[0],
    headDim,
    valueDim,
    scale: options.scale,
    softcap: options.softcap,
    causal: options.causal,
    window: options.window,
    reproducible: options.reproducible,
    precision: options.precision,
    queryOffset: offset + queries[0],
    keepMask: keepMask && { data: cellsOf(keepMask.data, keepMask.shape, new Uint8Array(cells)), shape: ownShape },
    bias: bias && { data: cellsOf(bias.data, bias.shape, new Float32Array(cells)), shape: ownShape },
    alibiSlopes: alibiSlopes?.slice(firstSlope, firstSlope + heads.length),
    sinks: sinks?.slice(heads[0], heads[0]! + heads.length),
  };
  return {
    problem: {
      q: rowsOf(q, headDim, qRows),
      k: rowsOf(k, headDim, kvRows),
      v: rowsOf(v, valueDim, kvRows),
      options: own,
    },
    places: ownQueries.flatMap((i) =>
      heads.map((h) => ({ out: rowAt(i, rowsQ, h, numHeads), lse: (b * numHeads + h) * rowsQ + i })),
    ),
  };
}

const span = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n);

/** Where `cell` of `target` stands in an array of `shape` that broadcasts to it, right-aligned. */
function placeOf(cell: readonly number[], shape: readonly number[], target: readonly number[]): number {
  const skipped = target.length - shape.length;
  return shape.reduce((index, size, n) => index * size + (size === 1 ? 0 : cell[skipped + n]!), 0);
}

/** The bits of rows of out, and of their lse; every NaN is one. */
export function bitsOfRows(
  { out, lse }: { out: Float32Array; lse: Float32Array },
  valueDim: number,
  places: Part["places"],
): number[][] {
  return places.map((place) => {
    const row = Float32Array.of(...out.subarray(place.out * valueDim, (place.out + 1) * valueDim), lse[place.lse]!);
    return Array.from(new Uint32Array(row.buffer), (bits, n) => (Number.isNaN(row[n]) ? NaN : bits));
  });
}

type Answer = { out: Float32Array; lse: Float32Array };
/** A way to compute a problem of one sequence. */
type Way = (heed: Heed, problem: Problem) => Answer;

export const asArrays: Way = (heed, { q, k, v, options }) => heed.attention(q, k, v, { ...options, lse: true });

export const asTensors: Way = (heed, { q, k, v, options }) => {
  const tensors = [q, k, v].map((rows) => {
    const tensor = heed.tensor(rows.length);
    tensor.data.set(rows);
    return tensor;
  });
  const answer = heed.attention(tensors[0]!, tensors[1]!, tensors[2]!, { ...options, lse: true });
  for (const tensor of tensors) tensor.dispose();
  return answer;
};

/** Over a cache, of `dtype`, that took its tokens in two parts. */
export const inCache =
  (dtype: Dtype): Way =>
  (heed, { q, k, v, options }) => {
    const { headDim, valueDim, numKvHeads, numHeads, ...others } = options;
    const keys = k.length / (numKvHeads! * headDim);
    using cache = heed.createKvCache({ numKvHeads: numKvHeads!, headDim, valueDim, capacity: keys + 1, dtype });
    const first = keys >> 1;
    cache.append(k.subarray(0, first * numKvHeads! * headDim), v.subarray(0, first * numKvHeads! * valueDim!));
    cache.append(k.subarray(first * numKvHeads! * headDim), v.subarray(first * numKvHeads! * valueDim!));
    return cache.attention(q, { ...others, numHeads, lse: true });
  };

const WAYS: Record<string, Way> = { asArrays, asTensors, inCache: inCache("f32") };

/** Some rows, of some KV heads, of one sequence: what is drawn is taken modulo what there is. */
const cuts = fc.record({
  sequence: fc.nat(),
  head: fc.nat(),
  heads: fc.nat(),
  query: fc.nat(),
  queries: fc.nat(),
  way: fc.constantFrom("asArrays", "asTensors", "inCache"),
});

type Drawn = typeof cuts extends fc.Arbitrary<infer T> ? T : never;

/** The drawn cut of a problem; undefined where its sequence has no rows. */
export function cutOf(problem: Problem, { sequence, head, heads, query, queries }: Drawn): Cut | undefined {
  const { numHeads, numKvHeads = numHeads } = problem.options;
  const sequences = sequencesOf(problem);
  const s = sequence % sequences.length;
  const { seqLenQ } = sequences[s]!;
  if (seqLenQ === 0) return undefined;
  const [firstHead, firstQuery] = [head % numKvHeads, query % seqLenQ];
  return {
    sequence: s,
    kvHeads: [firstHead, firstHead + 1 + (heads % (numKvHeads - firstHead))],
    queries: [firstQuery, firstQuery + 1 + (queries % (seqLenQ - firstQuery))],
  };
}

/** Expects the answer to a part to have the bits of its rows in the whole. */
export function expectSame(whole: Answer, part: Part, answer: Answer): void {
  const { numHeads, numKvHeads = numHeads, valueDim } = part.problem.options;
  expect(numHeads % numKvHeads).toBe(0);
  const queries = part.places.length / numHeads;
  const own = part.places.map((_, n) => ({ out: n, lse: (n % numHeads) * queries + Math.floor(n / numHeads) }));
  expect(bitsOfRows(answer, valueDim!, own)).toEqual(bitsOfRows(whole, valueDim!, part.places));
}

/** Puts NaN and Infinity at some places of q, k and v, every other one in the last keys, which not every query sees. */
export function spoil({ q, k, v, options }: Problem, seed: number): void {
  const next = uniform(seed);
  const last = 4 * options.headDim;
  for (const rows of [q, k, v]) {
    for (let n = integer(0, 3, next); n > 0 && rows.length > 0; n--) {
      const first = next() < 0.5 ? 0 : Math.max(0, rows.length - last);
      rows[integer(first, rows.length - 1, next)] = [NaN, Infinity, -Infinity, 3e38][integer(0, 3, next)]!;
    }
  }
}

/** Several parts of a call. */
export const parts = fc.array(cuts, { minLength: 2, maxLength: 5 });

/** Expects parts of a problem, but for those of at most `above` rows a KV head, to have the bits of the whole. */
export function expectSameParts(heed: Heed, problem: Problem, drawn: readonly Drawn[], above = 0): void {
  const { numHeads, numKvHeads = numHeads } = problem.options;
  const group = numHeads / numKvHeads;
  const whole = asArrays(heed, problem);
  for (const each of drawn) {
    const cut = cutOf(problem, each);
    if (!cut || (cut.queries[1] - cut.queries[0]) * group <= above) continue;
    const part = partOf(problem, cut);
    expectSame(whole, part, WAYS[each.way]!(heed, part.problem));
  }
}
