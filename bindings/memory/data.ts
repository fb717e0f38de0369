import {
  type Span,
  checkChoice,
  checkLength,
  checkTypedArray,
  isObject,
  isTypedArray,
  spanOfArray,
  viewOf,
  wrongKind,
} from "../check.ts";
import { BF16, F32, type FloatDtype, HALF, bytesOf } from "./float-types.ts";
import { MOST_DIMENSIONS, list } from "../options.ts";
import type { Arena } from "./arena.ts";
import { type Tensor, isTensor, viewAt } from "./tensor.ts";

/** A Float16Array, of engines that have it. @category Memory */
export interface Float16ArrayLike {
  readonly [Symbol.toStringTag]: "Float16Array";
  readonly buffer: ArrayBufferLike;
  readonly length: number;
  [n: number]: number;
}

/** The bits of floats: `"f16"` is IEEE 754 binary16, `"bf16"` bfloat16. @category Memory */
export interface HalfArray {
  readonly data: Uint16Array | Float16ArrayLike;
  readonly dtype: "f16" | "bf16";
}

/** Floats of 32 or 16 bits, in an array or a Tensor. @category Memory */
export type FloatRows = Float32Array | Float16ArrayLike | HalfArray | Tensor<FloatDtype>;

/** Elements to read or write: an array of the caller, or an address in linear memory, which needs no copy. */
export type Data<A> =
  | { array: A; ptr?: undefined; length: number }
  | {
      array?: undefined;
      ptr: number;
      length: number;
      /** Bytes of a view of linear memory that the caller gave: who owns that memory is not known. */
      viewBytes?: number;
    };

/** Floats, of 16 bits as they are; `length` counts floats. */
export type Floats = Data<Float32Array | Uint16Array> & {
  /** F32, HALF or BF16. */
  readonly type: number;
};
/** Bytes, such as those of a keepMask. */
export type Bytes = Data<Uint8Array>;

/** { data, dtype } as a call has read it: nothing that happens to the caller's object later changes it. */
export class Halves {
  readonly data: unknown;
  readonly dtype: unknown;
  // Private, so that nobody reads it who goes through the values of an object.
  readonly #given: object;

  constructor(given: object) {
    ({ data: this.data, dtype: this.dtype } = given as { data?: unknown; dtype?: unknown });
    this.#given = given;
  }

  /** The caller's object. */
  get given(): object {
    return this.#given;
  }
}

/** Reads an argument or option that may be { data, dtype }, see `readOptions`. */
export function halves(value: unknown): unknown {
  return isObject(value) && !isRows(value) && Object.hasOwn(value, "dtype") ? new Halves(value) : value;
}

const FLOATS = "a Float32Array or a Tensor";
const HALVES = `${FLOATS}, or 16 bits: a Float16Array or { data: Uint16Array, dtype: "f16" or "bf16" }`;

/**
 * Checks a Float32Array, or a Tensor of the instance that owns `arena`; `expected` says so in errors. Throws a TypeError,
 * or a ReferenceError for a disposed Tensor.
 */
export function checkFloats(title: string, value: unknown, arena: Arena, expected = FLOATS): Floats {
  if (isTensor(value)) {
    const ptr = value.ptrIn(arena, title);
    if (value.type !== F32) throw wrongKind(title, `${expected} of f32`, `a Tensor of ${value.dtype}`);
    return { ptr, length: value.length, type: F32 };
  }
  return floatsIn(
    checkTypedArray(title, value instanceof Halves ? value.given : value, "Float32Array", expected),
    arena,
    F32,
  );
}

/**
 * Checks floats of 32 or 16 bits: what {@link checkFloats} takes, a Float16Array, or a Uint16Array with its dtype, in
 * {@link Halves} or in `dtype` (which counts for nothing else). Throws as `checkFloats`.
 */
export function checkAnyFloats(title: string, given: unknown, arena: Arena, dtype?: unknown): Floats {
  // First what most calls have, and small calls are to find at once.
  if (isTypedArray("Float32Array", given)) {
    return floatsIn(viewOf(title, given, "Float32Array", HALVES), arena, F32);
  }
  const inner = given instanceof Halves;
  const value = inner ? given.data : given;
  if (isTensor(value) && !inner) return { ptr: value.ptrIn(arena, title), length: value.length, type: value.type };
  const isHalf = isTypedArray("Float16Array", value);
  if (!isHalf && !((inner || dtype !== undefined) && isTypedArray("Uint16Array", value))) {
    return checkFloats(title, given, arena, HALVES);
  }
  const name = inner ? `${title}.data` : title;
  const array = viewOf(name, value, isHalf ? "Float16Array" : "Uint16Array", HALVES);
  if (inner) dtype = given.dtype;
  if (isHalf) dtype ??= "f16";
  const place = title.replace(/\.data$/, "");
  const known = checkChoice(`${place}.dtype`, dtype, isHalf ? ["f16"] : ["f16", "bf16"]);
  return floatsIn(array, arena, known === "f16" ? HALF : BF16);
}

/** Whether a value is a Tensor, a typed array or one with its dtype, and so no object with options or with a shape. */
export function isRows(value: unknown): value is ArrayBufferView | Tensor<FloatDtype> | Halves {
  return ArrayBuffer.isView(value) || isTensor(value) || value instanceof Halves;
}

/** Checks a Uint8Array. */
export function checkBytes(title: string, value: unknown, arena: Arena): Bytes {
  const array = checkTypedArray(title, value, "Uint8Array", "a Uint8Array");
  const { length } = array;
  return arena.owns(array.buffer) ? { ptr: array.byteOffset, length, viewBytes: length } : { array, length };
}

/** A view of linear memory becomes an address at once, because growing memory detaches the view. */
function floatsIn(array: Float32Array | Uint16Array, arena: Arena, type: number): Floats {
  const { length } = array;
  return arena.owns(array.buffer)
    ? { ptr: array.byteOffset, length, viewBytes: array.byteLength, type }
    : { array, length, type };
}

/** Like {@link checkFloats}, or another `check`, for exactly `length` floats; `what` says in errors what the length is made of. */
export function checkFloatsOf(
  title: string,
  value: unknown,
  arena: Arena,
  length: number,
  what: string,
  check = checkFloats,
): Floats {
  const floats = check(title, value, arena);
  checkLength(title, floats.length, length, what);
  return floats;
}

/** Floats of 32 bits as an array: the caller's, or a view of linear memory, which the next allocation may detach. */
export function floatsOf(arena: Arena, floats: Floats): Float32Array {
  return elementsOf(arena, floats) as Float32Array;
}

/** The floats as an array, of 16 bits as they are; else as {@link floatsOf}. */
export function elementsOf(arena: Arena, { array, ptr, length, type }: Floats): Float32Array | Uint16Array {
  return array ?? viewAt(arena, ptr, length, type);
}

/**
 * Reads an option that may be { data, shape }, see `readOptions`. Such objects come from other libraries, so what else
 * they have does not matter.
 */
export function shaped(value: unknown): unknown {
  if (!isObject(value) || isRows(value)) return value;
  const { data, shape } = value as { data?: unknown; shape?: unknown };
  return { data, shape: list(shape, MOST_DIMENSIONS) };
}

/** {@link shaped}, whose data may be the bits of its `dtype`. */
export function shapedHalves(value: unknown): unknown {
  if (!isObject(value) || isRows(value)) return value;
  const { data, shape, dtype } = value as { data?: unknown; shape?: unknown; dtype?: unknown };
  return { data, shape: list(shape, MOST_DIMENSIONS), dtype };
}

/** The memory of a Tensor, or of a typed array; undefined for any other value. */
export function spanOf(arena: Arena, title: string, value: unknown): Span | undefined {
  if (value instanceof Halves) value = value.data;
  if (!isTensor(value)) {
    const span = spanOfArray(value);
    return span && arena.owns(span.buffer) ? { ...span, buffer: arena.buffer } : span;
  }
  return { buffer: arena.buffer, start: value.ptrIn(arena, title), bytes: value.length * bytesOf(value.type) };
}
