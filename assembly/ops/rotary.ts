// Rotary position embedding (RoFormer, Su et al., arXiv 2104.09864): pair j of a row is rotated by an angle of its
// position.
//
//     ┌ a′ ┐   ┌ cos θ  −sin θ ┐ ┌ a ┐
//     └ b′ ┘ = └ sin θ   cos θ ┘ └ b ┘
//
// Which two floats are pair j, for rotaryDim 8 in a row of headDim 10:
//
//     float          0   1   2   3   4   5   6   7   8   9
//     halves         a₀  a₁  a₂  a₃  b₀  b₁  b₂  b₃  ·   ·      GPT-NeoX, Llama as exported
//     interleaved    a₀  b₀  a₁  b₁  a₂  b₂  a₃  b₃  ·   ·      RoFormer, GPT-J, Llama as trained
//
// The floats from rotaryDim on pass through.

import { madd } from "../simd/lanes";

/** c − a·b; fused, and rounded once, where the build has relaxed SIMD. */
// @ts-ignore: decorator
@inline function nmadd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_nmadd(a, b, c) : f32x4.sub(c, f32x4.mul(a, b));
}

/**
 * Rotates every head of `seqLen` rows.
 *
 *   out        [seqLen, numHeads, headDim], overwritten; x itself, or apart from it
 *   x          [seqLen, numHeads, headDim]
 *   cos, sin   [angles, rotaryDim / 2]
 *   angles     i32 [seqLen]: the row of cos and sin for each row of x; 0: row i has row i
 *   rowStride, headStride  bytes from one row, and from one head, to the next; of x and of out
 */
export function rotate(
  out: usize,
  x: usize,
  cos: usize,
  sin: usize,
  angles: usize,
  seqLen: i32,
  numHeads: i32,
  headDim: i32,
  rotaryDim: i32,
  rowStride: usize,
  headStride: usize,
  interleaved: bool,
): void {
  assert(rotaryDim >= 2 && (rotaryDim & 1) == 0, "rotaryDim must be even and at least 2");
  assert(rotaryDim <= headDim, "rotaryDim must be at most headDim");
  assert(
    ((out | x | cos | sin | angles | rowStride | headStride) & 3) == 0,
    "pointers and strides must be aligned to 4 bytes",
  );

  const rotated = (<usize>rotaryDim) << 2;
  const rest = ((<usize>headDim) << 2) - rotated;
  for (let i = 0; i < seqLen; i++) {
    const position = angles ? load<i32>(angles + ((<usize>i) << 2)) : i;
    const angle = (<usize>position * rotated) >> 1;
    for (let h = 0; h < numHeads; h++) {
      const offset = <usize>i * rowStride + <usize>h * headStride;
      if (interleaved) rotateInterleaved(out + offset, x + offset, cos + angle, sin + angle, rotaryDim);
      else rotateHalves(out + offset, x + offset, cos + angle, sin + angle, rotaryDim);
      if (out != x && rest) memory.copy(out + offset + rotated, x + offset + rotated, rest);
    }
  }
}

/** One row of one head: a in the first half of rotaryDim, b in the second. */
function rotateHalves(out: usize, x: usize, cos: usize, sin: usize, rotaryDim: i32): void {
  const half = (<usize>rotaryDim) << 1;
  const whole = half & ~15;
  for (let offset: usize = 0; offset < whole; offset += 16) {
    const a = v128.load(x + offset);
    const b = v128.load(x + half + offset);
    const c = v128.load(cos + offset);
    const s = v128.load(sin + offset);
    v128.store(out + offset, nmadd(b, s, f32x4.mul(a, c)));
    v128.store(out + half + offset, madd(a, s, f32x4.mul(b, c)));
  }
  rotatePairs(out + whole, x + whole, cos + whole, sin + whole, half - whole, 4, half);
}

/** One row of one head: a in the even floats of rotaryDim, b in the odd ones. */
function rotateInterleaved(out: usize, x: usize, cos: usize, sin: usize, rotaryDim: i32): void {
  const half = (<usize>rotaryDim) << 1;
  const whole = half & ~15;
  for (let offset: usize = 0; offset < whole; offset += 16) {
    const ab01 = v128.load(x + (offset << 1));
    const ab23 = v128.load(x + (offset << 1), 16);
    const a = v128.shuffle<f32>(ab01, ab23, 0, 2, 4, 6);
    const b = v128.shuffle<f32>(ab01, ab23, 1, 3, 5, 7);
    const c = v128.load(cos + offset);
    const s = v128.load(sin + offset);
    const rotatedA = nmadd(b, s, f32x4.mul(a, c));
    const rotatedB = madd(a, s, f32x4.mul(b, c));
    v128.store(out + (offset << 1), v128.shuffle<f32>(rotatedA, rotatedB, 0, 4, 1, 5));
    v128.store(out + (offset << 1), v128.shuffle<f32>(rotatedA, rotatedB, 2, 6, 3, 7), 16);
  }
  rotatePairs(out + (whole << 1), x + (whole << 1), cos + whole, sin + whole, half - whole, 8, 4);
}

/** The last pairs, one offset a time: `step` bytes from pair to pair, `apart` from a to b. */
function rotatePairs(out: usize, x: usize, cos: usize, sin: usize, bytes: usize, step: usize, apart: usize): void {
  for (const end = cos + bytes; cos != end; cos += 4, sin += 4, x += step, out += step) {
    const a = v128.load32_zero(x);
    const b = v128.load32_zero(x + apart);
    const c = v128.load32_zero(cos);
    const s = v128.load32_zero(sin);
    v128.store_lane<f32>(out, nmadd(b, s, f32x4.mul(a, c)), 0);
    v128.store_lane<f32>(out + apart, madd(a, s, f32x4.mul(b, c)), 0);
  }
}
