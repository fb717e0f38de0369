// The functions of transformer blocks in plain lines: in f64 the oracle, with Math.fround the plain f32 implementation.
import { type Round, dot, exactly } from "./rounding.ts";

type Numbers = ArrayLike<number>;

/** What a norm computes, with every default filled in. */
export interface PlainNorm {
  kind: "rms" | "layer" | "l2";
  dim: number;
  eps: number;
  residual?: Numbers | undefined;
  weight?: Numbers | undefined;
  bias?: Numbers | undefined;
  /** Is added to the weight. */
  offset?: number;
}

/** What becomes of each row, by `each`, which is handed the row. */
function byRow(x: Numbers, dim: number, each: (row: Float64Array, at: number) => Numbers): Float64Array {
  const out: number[] = [];
  for (let at = 0; at < x.length; at += dim) {
    out.push(
      ...Array.from(
        each(
          Float64Array.from({ length: dim }, (_, n) => x[at + n]!),
          at,
        ),
      ),
    );
  }
  return Float64Array.from(out);
}

const sumOf = (row: Numbers, round: Round) => {
  let sum = 0;
  for (let n = 0; n < row.length; n++) sum = round(sum + row[n]!);
  return sum;
};

export function normReference(x: Numbers, norm: PlainNorm, round: Round = exactly): Float64Array {
  const { kind, dim, eps, residual, weight, bias, offset = 0 } = norm;
  return byRow(x, dim, (row, at) => {
    if (residual) row = row.map((value, n) => round(value + residual[at + n]!));
    if (kind === "l2") {
      const length = Math.max(round(Math.sqrt(dot(row, 0, row, 0, dim, round))), eps);
      return row.map((value) => round(value / length));
    }
    const mean = kind === "layer" ? round(sumOf(row, round) / dim) : 0;
    const centred = row.map((value) => round(value - mean));
    const variance = round(dot(centred, 0, centred, 0, dim, round) / dim);
    const deviation = round(Math.sqrt(round(variance + eps)));
    return centred.map((value, n) => {
      let y = round(value / deviation);
      if (weight) y = round(y * round(weight[n]! + offset));
      return bias ? round(y + bias[n]!) : y;
    });
  });
}

export function softmaxReference(x: Numbers, dim: number, scale: number, round: Round = exactly): Float64Array {
  return byRow(x, dim, (row) => {
    const scaled = row.map((value) => round(value * scale));
    const top = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
    const powers = scaled.map((value) => round(Math.exp(round(value - top))));
    const sum = sumOf(powers, round);
    return powers.map((power) => round(power / sum));
  });
}

export function logitsReference(x: Numbers, scale: number, cap: number | undefined, round: Round = exactly) {
  return Float64Array.from(x, (value) => {
    const scaled = round(value * scale);
    return cap === undefined ? scaled : round(cap * round(Math.tanh(round(scaled / cap))));
  });
}

/** The mean of the rows that `keeps`. */
export function meanReference(x: Numbers, dim: number, keeps: boolean[], round: Round = exactly): Float64Array {
  const count = keeps.filter(Boolean).length;
  return Float64Array.from({ length: dim }, (_, n) => {
    const column = keeps.flatMap((keep, row) => (keep ? [x[row * dim + n]!] : []));
    return count === 0 ? 0 : round(sumOf(column, round) / count);
  });
}
