// Weights in int8 and int4, packed as assembly/modules/linear/integers.ts reads them: panels of PANEL_FEATURES output
// features, in them groups of input features, in these a scale for each output feature and then pairs of integers.
import { wrongValue } from "../check.ts";
import { F32, PANEL_FEATURES } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { callItem } from "../engine/items.ts";
import { fromBinary16 } from "../kv-cache/stored-row.ts";
import { type Arena, floatsAt } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import { type Bytes, type Floats, floatsOf } from "../memory/data.ts";
import { type CheckedWeight, type PackedForm, BLOCK_FEATURES, blockBytes } from "./linear-weights.ts";
import { type WeightRows, featuresOfPiece, packScratchBytes, stageFeatures, widenArguments } from "./pack.ts";

/** The largest group. */
const MOST_FEATURES = 64;
/** int4 is read as bytes of 16 times as much. */
const INT4_FACTOR = 16;
/** Adding it rounds a small number to an integer, faster than Math.round. */
const ROUND = 1.5 * 2 ** 52;
/** The smallest normal f32, and the smallest f32. */
const [SMALLEST_NORMAL, SMALLEST] = [2 ** -126, 2 ** -149];

/**
 * Packs a weight at address `to`.
 *
 * @throws RangeError for a weight that is not finite
 */
export function packIntegers(
  instance: Instance,
  scope: CallScope,
  to: number,
  weight: CheckedWeight,
  form: PackedForm,
  title: string,
): void {
  const { arena } = instance;
  const { inFeatures, outFeatures } = weight;
  const { group, isInt4 } = form;
  const sources = sourcesOf(instance, scope, weight, isInt4);
  const panels = Math.ceil(outFeatures / PANEL_FEATURES);
  const bytes = new Int8Array(arena.buffer, to, panels * form.panelBytes).fill(0);
  const scales = floatsAt(arena, to, bytes.length / 4);
  const integers = new Int8Array(MOST_FEATURES);
  // Group by group, so that what is written stays in the first-level cache.
  let at = 0;
  for (let panel = 0; panel < outFeatures; panel += PANEL_FEATURES) {
    const lanes = Math.min(PANEL_FEATURES, outFeatures - panel);
    const source = sources(panel, lanes);
    for (let t = 0; t < inFeatures; t += group) {
      const count = Math.min(group, inFeatures - t);
      for (let lane = 0; lane < lanes; lane++) {
        const scale = source(integers, lane, t, count);
        if (!Number.isFinite(scale)) throw wrongValue(title, "finite numbers", scale);
        scales[at / 4 + lane] = isInt4 ? scale / INT4_FACTOR : scale;
        store(bytes, at + 4 * PANEL_FEATURES, integers, lane, count, isInt4);
      }
      at += 4 * PANEL_FEATURES + Math.ceil(count / 4) * (isInt4 ? 2 : 4) * PANEL_FEATURES;
    }
  }
}

/** Stores the integers of a lane of a group. As int4 the first eight lanes are low nibbles, the others high ones. */
function store(bytes: Int8Array, at: number, integers: Int8Array, lane: number, count: number, isInt4: boolean): void {
  if (!isInt4) {
    for (let i = 0, to = at + 2 * lane; i < count; i++, to += i & 1 ? 1 : 2 * PANEL_FEATURES - 1)
      bytes[to] = integers[i]!;
    return;
  }
  const isHigh = lane >= PANEL_FEATURES / 2;
  const first = at + 2 * lane - (isHigh ? PANEL_FEATURES : 0);
  for (let i = 0, to = first; i < count; i++, to += i & 1 ? 1 : PANEL_FEATURES - 1) {
    bytes[to] = isHigh ? bytes[to]! | (integers[i]! << 4) : integers[i]! & 15;
  }
}

/** Writes the integers of `count` input features from t on of an output feature of a panel, and returns their scale. */
type Source = (integers: Int8Array, lane: number, t: number, count: number) => number;

/** Where the integers of a panel come from, of which `lanes` output features are there. */
type Sources = (panel: number, lanes: number) => Source;

function sourcesOf(instance: Instance, scope: CallScope, weight: CheckedWeight, isInt4: boolean): Sources {
  const { arena, kernels } = instance;
  const { blocks, outStride, inStride, inFeatures } = weight;
  if (blocks) return blockReader(arena, weight);
  const data = weight.data as Floats;
  if (data.type === F32) {
    const floats = floatsOf(arena, data);
    return (panel) => rounder(floats, panel * outStride, outStride, inStride, isInt4);
  }
  // Of 16 bits a piece is brought to linear memory, and of it a panel becomes f32.
  const step = featuresOfPiece(weight);
  const take = stageFeatures(instance, scope, weight, step);
  const stage = scope.reserve(packScratchBytes(data.type, inFeatures));
  const floats = floatsAt(arena, stage, PANEL_FEATURES * inFeatures);
  let piece: WeightRows;
  return (panel, lanes) => {
    const first = panel % step;
    if (first === 0) piece = take(panel, Math.min(step, weight.outFeatures - panel));
    const args = widenArguments(piece, first, lanes, stage);
    callItem(kernels, 0, args, "gatherRows");
    return inStride === 1 ? rounder(floats, 0, inFeatures, 1, isInt4) : rounder(floats, 0, 1, lanes, isInt4);
  };
}

/**
 * Rounds floats: to −127 … 127 in units of max|w|/127; or to −8 … 7, of which −8 is the value of the largest magnitude,
 * as GGUF's q4_0 has it.
 */
function rounder(floats: Float32Array, start: number, outStride: number, inStride: number, isInt4: boolean): Source {
  return (integers, lane, t, count) => {
    const first = start + lane * outStride + t * inStride;
    let largest = 0;
    let extreme = 0;
    for (let i = 0, at = first; i < count; i++, at += inStride) {
      const magnitude = Math.abs(floats[at]!);
      // NaN becomes the largest, and stays it.
      if (magnitude > largest || magnitude !== magnitude) {
        largest = magnitude;
        extreme = floats[at]!;
      }
    }
    const scale = isInt4 ? INT4_FACTOR * roundScale(-extreme / (8 * INT4_FACTOR)) : roundScale(largest / 127);
    const up = scale === 0 ? 0 : 1 / scale;
    const most = isInt4 ? 7 : 127;
    for (let i = 0, at = first; i < count; i++, at += inStride) {
      const whole = floats[at]! * up + ROUND - ROUND;
      integers[i] = whole > most ? most : whole;
    }
    return scale;
  };
}

/** A scale as f32; a subnormal one is rounded away from 0, so that no integer becomes too large. */
function roundScale(scale: number): number {
  const size = Math.abs(scale);
  return size < SMALLEST_NORMAL ? Math.sign(scale) * Math.ceil(size / SMALLEST) * SMALLEST : Math.fround(scale);
}

/**
 * Reads blocks of GGUF: a binary16 scale d and BLOCK_FEATURES values. q8_0 has bytes, w = d·q; q4_0 nibbles,
 * w = d·(q − 8), the low ones of 16 bytes first and then the high ones.
 */
function blockReader(arena: Arena, { data, blocks, inFeatures }: CheckedWeight): Sources {
  const { array, ptr, length } = data as Bytes;
  const all = array ?? new Uint8Array(arena.buffer, ptr, length);
  const size = blockBytes(blocks!);
  return (panel) => (integers, lane, t) => {
    const at = (((panel + lane) * inFeatures + t) / BLOCK_FEATURES) * size;
    for (let i = 0; i < BLOCK_FEATURES; i++) {
      if (blocks === "q8_0") integers[i] = all[at + 2 + i]!;
      else integers[i] = ((all[at + 2 + (i % 16)]! >> (i < 16 ? 0 : 4)) & 15) - 8;
    }
    const bits = all[at]! | (all[at + 1]! << 8);
    return (bits & 0x7c00) === 0x7c00 ? NaN : fromBinary16(bits);
  };
}
