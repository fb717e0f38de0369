// From products to scores: scale, softcap, ALiBi, bias, in that order; the masks follow in mask.ts, the sink in
// softmax.ts. Each step has a lane form over S [count][LANES], where each lane is a query row, and a row form over the
// scores of one row, side by side. The row form goes key by key: ALiBi and bias are there for few calls, and take
// little beside the products.

import { AttendArgs } from "../args";
import { LANE_BYTES, VECTORS, scaleRow, storeTransposed } from "../simd/lanes";
import { softcap } from "../simd/exp";
import { ALPHA, BIAS_ROW, POSITION, QueryTile, SLOPE, lanes } from "./query-tile";

/** Whether {@link adjustScores} has anything to do. */
// @ts-ignore: decorator
@inline export function adjustsScores(args: AttendArgs): bool {
  return args.softcap > 0 || args.alibiSlopes != 0 || args.bias != 0;
}

/** Lane form: S ← cap·tanh(S·scoreScale/cap) − slope·|position − key| + bias, for the keys from `first` on. */
export function adjustScores(tile: QueryTile, args: AttendArgs, s: usize, first: i32, count: i32): void {
  if (args.softcap > 0) softcap(s, count * VECTORS, args.scoreScale, args.softcap, args.constants);
  else if (args.scoreScale != 1) scaleRow(s, s, count * (VECTORS << 2), args.scoreScale);
  if (args.alibiSlopes) addAlibi(tile, s, first, count);
  if (args.bias) addBias(tile, args, s, first, count);
}

/** Row form: the same for the row in `lane`; scales whole vectors. */
export function adjustRow(tile: QueryTile, args: AttendArgs, s: usize, lane: i32, first: i32, count: i32): void {
  if (args.softcap > 0) softcap(s, (count + 3) >> 2, args.scoreScale, args.softcap, args.constants);
  else if (args.scoreScale != 1) scaleRow(s, s, count, args.scoreScale);
  if (args.alibiSlopes) addAlibiToRow(tile, s, lane, first, count);
  if (args.bias) addBiasToRow(tile, args, s, lane, first, count);
}

/** Lane form: S[key] −= slope·|position − key| (Press et al., arXiv 2108.12409) */
function addAlibi(tile: QueryTile, s: usize, first: i32, count: i32): void {
  for (let vector = 0; vector < tile.vectors; vector++) {
    const offset = (<usize>vector) << 4;
    const slope = v128.load(lanes(tile, SLOPE) + offset);
    let ahead = i32x4.sub(v128.load(lanes(tile, POSITION) + offset), i32x4.splat(first));
    const one = i32x4.splat(1);
    let row = s + offset;
    for (let key = 0; key < count; key++) {
      const distance = f32x4.abs(f32x4.convert_i32x4_s(ahead));
      v128.store(row, f32x4.sub(v128.load(row), f32x4.mul(slope, distance)));
      ahead = i32x4.sub(ahead, one);
      row += LANE_BYTES;
    }
  }
}

/** Row form of {@link addAlibi}. */
function addAlibiToRow(tile: QueryTile, s: usize, lane: i32, first: i32, count: i32): void {
  const laneOffset = (<usize>lane) << 2;
  const slope = load<f32>(lanes(tile, SLOPE) + laneOffset);
  const ahead = load<i32>(lanes(tile, POSITION) + laneOffset) - first;
  for (let key = 0; key < count; key++, s += 4) {
    store<f32>(s, load<f32>(s) - slope * abs(<f32>(ahead - key)));
  }
}

/**
 * Lane form: S[key] += bias[row][key], four keys of four rows at a time; the last four may run into the scratch rows of
 * S.
 */
export function addBias(tile: QueryTile, args: AttendArgs, s: usize, first: i32, count: i32): void {
  const keyStride = args.biasKeyStride;
  const four = lanes(tile, ALPHA); // overwritten: the softmax has yet to write it
  for (let lane = 0; lane < tile.vectors << 2; lane += 4) {
    const rows = lanes(tile, BIAS_ROW) + ((<usize>lane) << 2);
    const skip = <usize>first * keyStride;
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
        loadBiases(r0, keyStride),
        loadBiases(r1, keyStride),
        loadBiases(r2, keyStride),
        loadBiases(r3, keyStride),
      );
      r0 += 4 * keyStride;
      r1 += 4 * keyStride;
      r2 += 4 * keyStride;
      r3 += 4 * keyStride;
      for (let key4 = four; key4 != four + 64; key4 += 16) {
        v128.store(column, addBiases(v128.load(column), v128.load(key4)));
        column += LANE_BYTES;
      }
    }
  }
}

/** Row form of {@link addBias}. */
function addBiasToRow(tile: QueryTile, args: AttendArgs, s: usize, lane: i32, first: i32, count: i32): void {
  const keyStride = args.biasKeyStride;
  let bias = load<usize>(lanes(tile, BIAS_ROW) + ((<usize>lane) << 2)) + <usize>first * keyStride;
  for (let key = 0; key < count; key++, s += 4) {
    const added = load<f32>(bias);
    store<f32>(s, added == -Infinity ? added : load<f32>(s) + added);
    bias += keyStride;
  }
}

/** The biases of four keys, keyStride bytes apart; a bias that is the same for every key has a stride of 0. */
// @ts-ignore: decorator
@inline function loadBiases(bias: usize, keyStride: usize): v128 {
  return keyStride ? v128.load(bias) : v128.load32_splat(bias);
}

/** score + bias; a bias of −Infinity masks, whatever the score. */
// @ts-ignore: decorator
@inline function addBiases(score: v128, bias: v128): v128 {
  const masks = f32x4.eq(bias, f32x4.splat(-Infinity));
  return v128.bitselect(bias, f32x4.add(score, bias), masks);
}
