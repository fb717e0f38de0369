// What is added to a block of scores S [count][LANES] between the product and the masks: softcap, ALiBi, bias.

import { Head } from "../args";
import { LANE_BYTES, VECTORS, storeTransposed } from "../simd/lanes";
import { softcap } from "../simd/exp";
import { ALPHA, BIAS_ROW, Block, POSITION, SLOPE, lanes } from "./query-tile";

/** Whether {@link adjustScores} has anything to do. */
// @ts-ignore: decorator
@inline export function adjustsScores(head: Head): bool {
  return head.softcap > 0 || head.alibiSlopes != 0 || head.bias != 0;
}

/** S ← cap·tanh(S·scoreScale/cap) − slope·|position − key| + bias, of the keys from `first` on. */
export function adjustScores(block: Block, head: Head, s: usize, first: i32, count: i32): void {
  if (head.softcap > 0) softcap(s, count * VECTORS, head.scoreScale, head.softcap, head.constants);
  else if (head.scoreScale != 1) scaleScores(s, count, head.scoreScale);
  if (head.alibiSlopes) addAlibi(block, s, first, count);
  if (head.bias) addBias(block, head, s, first, count);
}

function scaleScores(s: usize, count: i32, factor: f32): void {
  for (const end = s + <usize>count * LANE_BYTES; s < end; s += 16) {
    v128.store(s, f32x4.mul(v128.load(s), f32x4.splat(factor)));
  }
}

/** S[key] −= slope·|position − key| (Press et al., arXiv 2108.12409) */
function addAlibi(block: Block, s: usize, first: i32, count: i32): void {
  for (let vector = 0; vector < block.vectors; vector++) {
    const at = (<usize>vector) << 4;
    const slope = v128.load(lanes(block, SLOPE) + at);
    let ahead = i32x4.sub(v128.load(lanes(block, POSITION) + at), i32x4.splat(first));
    const one = i32x4.splat(1);
    let row = s + at;
    for (let key = 0; key < count; key++) {
      const distance = f32x4.abs(f32x4.convert_i32x4_s(ahead));
      v128.store(row, f32x4.sub(v128.load(row), f32x4.mul(slope, distance)));
      ahead = i32x4.sub(ahead, one);
      row += LANE_BYTES;
    }
  }
}

/** S[key] += bias[row][key], four keys of four rows at a time; the last step may run into the scratch rows of S. */
export function addBias(block: Block, head: Head, s: usize, first: i32, count: i32): void {
  const step = head.biasKey;
  const four = lanes(block, ALPHA); // overwritten: the softmax has yet to write it
  for (let lane = 0; lane < block.vectors << 2; lane += 4) {
    const rows = lanes(block, BIAS_ROW) + ((<usize>lane) << 2);
    const skip = <usize>first * step;
    let r0 = load<usize>(rows, 0) + skip;
    let r1 = load<usize>(rows, 4) + skip;
    let r2 = load<usize>(rows, 8) + skip;
    let r3 = load<usize>(rows, 12) + skip;
    let column = s + ((<usize>lane) << 2);
    for (let key = 0; key < count; key += 4) {
      storeTransposed(
        four,
        four + 16,
        four + 32,
        four + 48,
        biases(r0, step),
        biases(r1, step),
        biases(r2, step),
        biases(r3, step),
      );
      r0 += 4 * step;
      r1 += 4 * step;
      r2 += 4 * step;
      r3 += 4 * step;
      for (let at = four; at < four + 64; at += 16) {
        v128.store(column, biased(v128.load(column), v128.load(at)));
        column += LANE_BYTES;
      }
    }
  }
}

/** The bias of four keys, `step` bytes apart; one that is the same for every key has a step of 0, and one float stands for four. */
// @ts-ignore: decorator
@inline function biases(at: usize, step: usize): v128 {
  return step ? v128.load(at) : v128.load32_splat(at);
}

/** score + bias; a bias of −Infinity masks, whatever the score. */
// @ts-ignore: decorator
@inline function biased(score: v128, bias: v128): v128 {
  const masks = f32x4.eq(bias, f32x4.splat(-Infinity));
  return v128.bitselect(bias, f32x4.add(score, bias), masks);
}
