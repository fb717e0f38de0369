import type { AttentionOptions } from "../../bindings/attention/options.ts";
import { type Round, addScaled, dot, exactly } from "./rounding.ts";

/** Options, with every array plain. */
export interface PlainOptions extends Omit<AttentionOptions, "out" | "lse" | "bias" | "alibiSlopes" | "sinks"> {
  bias?: { data: Float32Array; shape: readonly number[] } | undefined;
  alibiSlopes?: Float32Array | undefined;
  sinks?: Float32Array | undefined;
}

export interface Answer {
  out: Float64Array;
  lse: Float64Array;
  /** [batch, numHeads, seqLenQ, seqLenKv]: the final scores, −Infinity where a key is not seen. */
  scores: Float64Array;
  /** [batch, numHeads, seqLenQ, seqLenKv] */
  weights: Float64Array;
}

/**
 * Attention in three passes over a row of scores: maximum, sum, weighted sum. `round` is applied to the result of every
 * operation: `exactly` makes it the oracle in f64, Math.fround the plain f32 implementation (see naive.ts).
 */
export function reference(
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  options: PlainOptions,
  round: Round = exactly,
): Answer {
  const { numHeads, headDim, numKvHeads = numHeads, valueDim = headDim, batch = 1, layout = "blhd" } = options;
  const { causal, queryOffset, window, kvLengths, keepMask, bias, alibiSlopes, softcap, sinks, cuSeqlensQ } = options;
  const cuSeqlensKv = options.cuSeqlensKv ?? cuSeqlensQ;
  const scale = round(options.scale ?? 1 / Math.sqrt(headDim));
  const rowsQ = q.length / (batch * numHeads * headDim);
  const rowsKv = k.length / (batch * numKvHeads * headDim);
  const shape = [batch, numHeads, rowsQ, rowsKv];
  const at = (b: number, row: number, rows: number, head: number, heads: number) =>
    layout === "blhd" ? (b * rows + row) * heads + head : (b * heads + head) * rows + row;

  const out = new Float64Array(batch * rowsQ * numHeads * valueDim);
  const lse = new Float64Array(batch * numHeads * rowsQ);
  const allScores = new Float64Array(batch * numHeads * rowsQ * rowsKv).fill(-Infinity);
  const weights = new Float64Array(allScores.length);
  for (let s = 0; s < (cuSeqlensQ ? cuSeqlensQ.length - 1 : batch); s++) {
    const b = cuSeqlensQ ? 0 : s;
    const startQ = cuSeqlensQ?.[s] ?? 0;
    const startKv = cuSeqlensKv?.[s] ?? 0;
    const seqLenQ = (cuSeqlensQ?.[s + 1] ?? rowsQ) - startQ;
    const seqLenKv = kvLengths?.[s] ?? (cuSeqlensKv?.[s + 1] ?? rowsKv) - startKv;
    const offset = (typeof queryOffset === "number" ? queryOffset : queryOffset?.[s]) ?? seqLenKv - seqLenQ;
    for (let h = 0; h < numHeads; h++) {
      const kvHead = Math.floor(h / (numHeads / numKvHeads));
      const slope = alibiSlopes?.[(alibiSlopes.length > numHeads ? s * numHeads : 0) + h];
      for (let i = 0; i < seqLenQ; i++) {
        const qRow = at(b, startQ + i, rowsQ, h, numHeads);
        const position = i + offset;

        // 1. The final score of every visible key.
        const keys: number[] = [];
        const scores: number[] = [];
        for (let j = 0; j < seqLenKv; j++) {
          if (causal && j > position) continue;
          if (j < position - (window?.left ?? Infinity) || j > position + (window?.right ?? Infinity)) continue;
          const cell = [b, h, startQ + i, startKv + j];
          const added = bias ? bias.data[indexOf(cell, bias.shape, shape)]! : 0;
          if (added === -Infinity || (keepMask && !keepMask.data[indexOf(cell, keepMask.shape, shape)])) continue;
          const kRow = at(b, startKv + j, rowsKv, kvHead, numKvHeads);
          let score = round(dot(q, qRow * headDim, k, kRow * headDim, headDim, round) * scale);
          if (softcap) score = round(round(softcap) * round(Math.tanh(round(score / round(softcap)))));
          if (slope !== undefined) score = round(score - round(slope * Math.abs(position - j)));
          if (bias) score = round(score + added);
          keys.push(startKv + j);
          scores.push(score);
          allScores[((b * numHeads + h) * rowsQ + startQ + i) * rowsKv + startKv + j] = score;
        }

        // 2. Maximum and denominator, the sink among them.
        const lseAt = (b * numHeads + h) * rowsQ + startQ + i;
        const sink = sinks?.[h] ?? -Infinity;
        if (keys.length === 0) {
          lse[lseAt] = sink;
          continue;
        }
        const m = Math.max(sink, ...scores);
        const p = scores.map((score) => round(Math.exp(round(score - m))));
        let l = sinks ? round(Math.exp(round(sink - m))) : 0;
        for (const weight of p) l = round(l + weight);
        lse[lseAt] = round(m + round(Math.log(l)));

        // 3. The weighted sum of the values.
        keys.forEach((key, n) => {
          const weight = round(p[n]! / l);
          weights[lseAt * rowsKv + key] = weight;
          const vRow = at(b, key, rowsKv, kvHead, numKvHeads);
          addScaled(out, qRow * valueDim, weight, v, vRow * valueDim, valueDim, round);
        });
      }
    }
  }
  return { out, lse, scores: allScores, weights };
}

/** Where `cell` of `target` stands in an array of `shape` that broadcasts to it, right-aligned. */
function indexOf(cell: readonly number[], shape: readonly number[], target: readonly number[]): number {
  const skipped = target.length - shape.length;
  return shape.reduce((index, size, n) => index * size + (size === 1 ? 0 : cell[skipped + n]!), 0);
}
