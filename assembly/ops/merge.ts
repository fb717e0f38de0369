// Attention over keys that were split: each part is exact over its own, and its lse says how much it weighs.
//
//     M = max(lse_p, sink)    l = Σ_p exp(lse_p − M) + exp(sink − M)
//     out = Σ_p exp(lse_p − M)/l · out_p                                lse = M + ln l
//
// A part that saw no key has lse_p = −Infinity and is not read, nor is one whose lse_p is the lowest number, −FLT_MAX,
// beside another that is higher: a split has it where all scores of a row are −Infinity (attention/splits.ts). All sums are in f64, so the order of the parts changes
// a last bit at most.

import { exp64, log } from "../simd/exp";

/** Bytes of scratch for `parts` parts: [parts] weights and addresses. */
export function mergeBytes(parts: f64): f64 {
  return parts * 16;
}

/**
 * Rows [first, first + rows) of out, in memory order, and of lse.
 *
 *   out      [rows][dim]; may be the same memory as a part's
 *   lse      [batch][numHeads][seqLenQ], whole; may be a part's
 *   outs     [parts] addresses of [rows][dim]
 *   lses     [parts] addresses of lse arrays, whole
 *   sinks    [numHeads], or 0
 *   scratch  mergeBytes(parts)
 *   byHead   whether rows are [batch][numHeads][seqLenQ]; else [batch][seqLenQ][numHeads]
 */
export function mergeRows(
  out: usize,
  lse: usize,
  outs: usize,
  lses: usize,
  sinks: usize,
  scratch: usize,
  parts: i32,
  first: i32,
  rows: i32,
  numHeads: i32,
  seqLenQ: i32,
  dim: i32,
  byHead: bool,
): void {
  assert(parts > 0, "parts must be positive");
  const outRowBytes = (<usize>dim) << 2;
  for (let row = 0; row < rows; row++) {
    const n = first + row;
    const b = n / (numHeads * seqLenQ);
    const head = byHead ? (n / seqLenQ) % numHeads : n % numHeads;
    const query = byHead ? n % seqLenQ : (n / numHeads) % seqLenQ;
    const lseOffset = (<usize>((b * numHeads + head) * seqLenQ + query)) << 2;
    const sink: f32 = sinks ? load<f32>(sinks + ((<usize>head) << 2)) : -Infinity;

    let top = sink;
    for (let p = 0; p < parts; p++) top = max<f32>(top, load<f32>(pointer(lses, p) + lseOffset)); // NaN where either is
    // Weights and addresses of the parts that have any.
    let count: i32 = 0;
    let l: f64 = sink == -Infinity && top == top ? 0 : exp64(<f64>sink - <f64>top);
    for (let p = 0; p < parts; p++) {
      const partLse = load<f32>(pointer(lses, p) + lseOffset);
      if (partLse <= -f32.MAX_VALUE && (partLse < top || top == -Infinity)) continue;
      // It may be 0, and still make NaN of a row that has one.
      const w = exp64(<f64>partLse - <f64>top);
      l += w;
      store<f64>(scratch + ((<usize>count) << 4), w);
      store<usize>(scratch + ((<usize>count) << 4), pointer(outs, p) + <usize>row * outRowBytes, 8);
      count++;
    }
    mixRow(out + <usize>row * outRowBytes, scratch, count, outRowBytes, l);
    store<f32>(lse + lseOffset, l == 0 ? -Infinity : <f32>(<f64>top + log(l)));
  }
}

// @ts-ignore: decorator
@inline function pointer(array: usize, p: i32): usize {
  return load<usize>(array + ((<usize>p) << 2));
}

/** out = Σ w/l · row over `count` weights and addresses. */
function mixRow(out: usize, mix: usize, count: i32, bytes: usize, l: f64): void {
  const end = mix + ((<usize>count) << 4);
  for (let part = mix; part != end; part += 16) store<f64>(part, load<f64>(part) / l);
  let d: usize = 0;
  for (; d != (bytes & ~15); d += 16) {
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let part = mix; part != end; part += 16) {
      const w = v128.load64_splat(part);
      const x = v128.load(load<usize>(part, 8) + d);
      low = f64x2.add(low, f64x2.mul(w, f64x2.promote_low_f32x4(x)));
      high = f64x2.add(high, f64x2.mul(w, f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3))));
    }
    v128.store(out + d, v128.shuffle<f32>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 1, 4, 5));
  }
  for (; d != bytes; d += 4) {
    let sum: f64 = 0;
    for (let part = mix; part != end; part += 16) sum += load<f64>(part) * <f64>load<f32>(load<usize>(part, 8) + d);
    store<f32>(out + d, <f32>sum);
  }
}
