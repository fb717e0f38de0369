import { expect } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { WeightsOptions, WeightsResult } from "../../bindings/attention-weights/options.ts";
import { ULP, floorOf, largest, maxError } from "./budget.ts";
import { naive } from "./naive.ts";
import { type Problem, sizeOf } from "./problems.ts";
import { integer } from "./random.ts";
import { type Answer, reference } from "./reference.ts";
import { type Round, exactly } from "./rounding.ts";

/** Which weights, in plain arrays. */
export interface Chosen {
  rows: readonly number[];
  heads: readonly number[];
  reduce?: "mean" | "keySum" | undefined;
}

/** The shape of the scores of a problem. */
export function scoresShape({ q, k, options }: Problem): [number, number, number, number] {
  const { batch = 1, numHeads, numKvHeads = numHeads, headDim } = options;
  return [batch, numHeads, q.length / (batch * numHeads * headDim), k.length / (batch * numKvHeads * headDim)];
}

/** Some rows and heads of a problem, in any order, some of them more than once. */
export function someOf(problem: Problem, next: () => number): Chosen {
  const [, numHeads, rowsQ] = scoresShape(problem);
  const some = (count: number) =>
    next() < 0.3 || count === 0
      ? Array.from({ length: count }, (_, i) => i)
      : Array.from({ length: integer(1, count, next) }, () => integer(0, count - 1, next));
  return { rows: some(rowsQ), heads: some(numHeads) };
}

export function weigh(heed: Heed, { q, k, options }: Problem, more: Partial<WeightsOptions> = {}) {
  return heed.attentionWeights(q, k, { ...options, ...more }) as {
    weights: Float32Array;
    indices?: Int32Array;
    entropy?: Float32Array;
  };
}

export function lseOf(heed: Heed, { q, k, v, options }: Problem): Float32Array {
  return heed.attention(q, k, v, { ...options, lse: true }).lse;
}

/** The chosen rows of an array over the scores, [batch, heads, rows, …]. */
export function choose(all: Float64Array, shape: readonly number[], { rows, heads }: Chosen): Float64Array {
  const [batch, numHeads, seqLenQ] = shape as [number, number, number];
  const last = sizeOf(shape.slice(3));
  const chosen = new Float64Array(batch * heads.length * rows.length * last);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (const head of heads) {
      for (const row of rows) {
        const from = ((b * numHeads + head) * seqLenQ + row) * last;
        chosen.set(all.subarray(from, from + last), at);
        at += last;
      }
    }
  }
  return chosen;
}

/** Weights [batch, heads, rows, keys] reduced, every operation rounded by `round`. */
function reduced(weights: Float64Array, batch: number, keys: number, { rows, heads, reduce }: Chosen, round: Round) {
  if (!reduce) return weights;
  const units = reduce === "mean" ? rows.length : heads.length;
  const sums = new Float64Array(batch * units * keys);
  weights.forEach((weight, at) => {
    const row = Math.floor(at / keys) % rows.length;
    const head = Math.floor(at / (keys * rows.length)) % heads.length;
    const b = Math.floor(at / (keys * rows.length * heads.length));
    const to = (b * units + (reduce === "mean" ? row : head)) * keys + (at % keys);
    sums[to] = round(sums[to]! + weight);
  });
  return reduce === "mean" ? sums.map((sum) => round(sum / heads.length)) : sums;
}

/** −Σ w·ln w of every row. */
function entropies(weights: Float64Array, keys: number, rows: number, round: Round): Float64Array {
  return Float64Array.from({ length: rows }, (_, row) =>
    weights
      .subarray(row * keys, (row + 1) * keys)
      .reduce((sum, w) => (w === 0 ? sum : round(sum - round(w * round(Math.log(w))))), 0),
  );
}

/** The answer of `reference`, or of another attention in plain arrays, as attentionWeights is to give it. */
export function expectedOf({ weights }: Answer, shape: readonly number[], chosen: Chosen, round: Round = exactly) {
  const [batch, , , keys] = shape as [number, number, number, number];
  const rows = choose(weights, shape, chosen);
  const count = batch * chosen.heads.length * chosen.rows.length;
  return {
    weights: reduced(rows, batch, keys, chosen, round),
    entropy: entropies(rows, keys, count, round),
  };
}

/**
 * Expects weights, and entropy where there is one, within twice the error of plain f32. The floor for problems of few
 * elements: with relative errors ε of exp(score), see {@link floorOf}, a weight is off by w·(ε − Σ w·ε), at most ε, and
 * a sum of n of them by n·ε; the entropy by Σ w·ε·(ln w + 1), at most ε·(ln keys + 1).
 */
export function expectWeights(got: WeightsResult, problem: Problem, chosen: Chosen, extra = 0): void {
  const { q, k, v, options } = problem;
  const exact = reference(q, k, v, options);
  const shape = scoresShape(problem);
  const expected = expectedOf(exact, shape, chosen);
  const plain = expectedOf(naive(q, k, v, options), shape, chosen, Math.fround);
  const relative = floorOf({ q, k, v: Float32Array.of(1), options }, exact).out + extra;
  const terms = chosen.reduce === "keySum" ? Math.max(1, chosen.rows.length) : 1;
  expectClose("weights", got.weights, expected.weights, plain.weights, terms * (relative + ULP));
  if (!got.entropy) return;
  const nats = 1 + Math.log(1 + shape[3]);
  expectClose(
    "entropy",
    got.entropy,
    expected.entropy,
    plain.entropy,
    relative * nats + ULP * largest(expected.entropy),
  );
}

/** Expects every row to sum to 1 less the share of the sink, and to be 0 in every key that the row does not see. */
export function expectRows(weights: Float32Array, problem: Problem, chosen: Chosen): void {
  const { q, k, v, options } = problem;
  const shape = scoresShape(problem);
  const [batch, numHeads, seqLenQ, keys] = shape;
  const exact = reference(q, k, v, options);
  const scores = choose(exact.scores, shape, chosen);
  const lse = choose(exact.lse, [batch, numHeads, seqLenQ], chosen);
  lse.forEach((row, n) => {
    let sum = 0;
    let sees = false;
    for (let key = n * keys; key < (n + 1) * keys; key++) {
      sum += weights[key]!;
      if (scores[key] !== -Infinity) sees = true;
      else if (!Object.is(weights[key], 0))
        expect.fail(`the weight of key ${key % keys}, which row ${n} does not see, is ${weights[key]!}`);
    }
    const sink = options.sinks?.[chosen.heads[Math.floor(n / chosen.rows.length) % chosen.heads.length]!] ?? -Infinity;
    const share = sink === -Infinity ? 0 : Math.exp(sink - row);
    // The share of a sink depends on scores that are rounded: by their relative error, see floorOf.
    const rounding = share > 0 ? floorOf({ q, k, v: Float32Array.of(1), options }, exact).out : 0;
    const tolerance = 4 * ULP * Math.sqrt(keys) + rounding;
    expect(Math.abs(sum - (sees ? 1 - share : 0)), `sum of row ${n}`).toBeLessThanOrEqual(tolerance);
  });
}

function expectClose(
  name: string,
  got: WeightsResult["weights"],
  exact: Float64Array,
  plain: Float64Array,
  floor: number,
): void {
  const floats = got instanceof Float32Array ? got : got.data;
  const budget = Math.max(2 * maxError(plain, exact), floor);
  expect(maxError(floats, exact), `error of ${name}`).toBeLessThanOrEqual(budget);
}

/** The n largest of each row of `keys`, and where they stand: by weight, then by key. */
export function topOf(weights: Float32Array, keys: number, n: number): { weights: Float32Array; indices: Int32Array } {
  const indices: number[] = [];
  const top: number[] = [];
  for (let from = 0; from < weights.length; from += keys) {
    const row = weights.subarray(from, from + keys);
    const rank = (w: number) => (Number.isNaN(w) ? Infinity : w);
    const order = Array.from(row.keys()).sort((a, b) =>
      rank(row[a]!) === rank(row[b]!) ? a - b : rank(row[b]!) - rank(row[a]!),
    );
    for (const key of order.slice(0, n)) {
      indices.push(key);
      top.push(row[key]!);
    }
  }
  return { weights: Float32Array.from(top), indices: Int32Array.from(indices) };
}
