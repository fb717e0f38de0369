import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { F32, bytesOf } from "../memory/float-types.ts";
import { halvesIn, widenedBytes } from "../memory/staged-rows.ts";
import { viewAt } from "../memory/tensor.ts";
import type { Instance } from "./instance.ts";

type Engine = Pick<Instance, "arena" | "kernels">;

/** Makes f32 at `ptr` of the `length` floats of 16 bits at `halvesIn`. */
export function widen(engine: Pick<Instance, "kernels">, ptr: number, length: number, type: number): void {
  asF32(engine, halvesIn(ptr, length), 0, length, type, ptr);
}

/** Bytes of a stage of `length` floats for {@link stageFloats} and {@link narrow}. */
export function stageBytes(length: number): number {
  return Math.ceil(length / 8) * 32;
}

/**
 * The address of `count` floats from the float `first` on, as f32: of those at `ptr`, or of what becomes of them at `stage`
 * where they have 16 bits.
 */
export function asF32(
  { kernels }: Pick<Instance, "kernels">,
  ptr: number,
  first: number,
  count: number,
  type: number,
  stage: number,
): number {
  const from = ptr + first * bytesOf(type);
  if (type === F32) return from;
  // Of no floats the kernel would still write where they are fetched to.
  if (count > 0) kernels.gatherRows(stage, from, 0, 1, count, 0, 0, type);
  return stage;
}

/** The address of `length` of the floats from number `first` on, as f32: their own, or `stage`, of {@link stageBytes}. */
export function stageFloats(
  engine: Engine,
  stage: number,
  { array, ptr, type }: Floats,
  first: number,
  length: number,
): number {
  if (!array) return asF32(engine, ptr, first, length, type, stage);
  const from = type === F32 ? stage : halvesIn(stage, length);
  viewAt(engine.arena, from, length, type).set(array.subarray(first, first + length));
  return asF32(engine, from, 0, length, type, stage);
}

/** Bytes behind the floats of `narrow` that it reads. */
export const NARROW_SLACK = 32;

/**
 * Rounds `rows` rows of `dim` floats to 16 bits; their strides are in floats. Where `dim` is no multiple of eight, up to
 * three floats behind a row are overwritten.
 */
export function narrow(
  { kernels }: Pick<Instance, "kernels">,
  to: number,
  from: number,
  rows: number,
  dim: number,
  stride: number,
  type: number,
): void {
  // Whole rows are one.
  if (dim === stride) [rows, dim] = [1, rows * dim];
  kernels.storeRows(to, 0, from, rows, dim, stride * 2, stride * 4, type);
}

/** The address of f32 for `floats`: as `scope.input`, and what has 16 bits is converted. */
export function inputAsF32(engine: Engine, scope: CallScope, floats: Floats | undefined): number {
  if (!floats || floats.type === F32) return scope.input(floats);
  return stageFloats(engine, scope.reserve(widenedBytes(floats.length)), floats, 0, floats.length);
}
