import { type Span, checkLength, checkTypedArray, isObject, spanOfArray } from "../check.ts";
import { MOST_DIMENSIONS, list } from "../options.ts";
import { type Arena, floatsAt } from "./arena.ts";
import { type Tensor, isTensor } from "./tensor.ts";

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

/** f32 values; `length` counts floats. */
export type Floats = Data<Float32Array>;
/** Bytes, such as those of a keepMask. */
export type Bytes = Data<Uint8Array>;

/**
 * Checks a Float32Array, or a Tensor of the instance that owns `arena`. Throws a TypeError, or a ReferenceError for a
 * disposed Tensor.
 */
export function checkFloats(title: string, value: unknown, arena: Arena): Floats {
  if (isTensor(value)) return { ptr: value.ptrIn(arena, title), length: value.length };
  return dataOf(checkTypedArray(title, value, "Float32Array", "a Float32Array or a Tensor"), arena);
}

/** Whether a value is a Tensor or a typed array, and so no object with options or with { data }. */
export function isRows(value: unknown): value is ArrayBufferView | Tensor {
  return ArrayBuffer.isView(value) || isTensor(value);
}

/** Checks a Uint8Array. */
export function checkBytes(title: string, value: unknown, arena: Arena): Bytes {
  return dataOf(checkTypedArray(title, value, "Uint8Array", "a Uint8Array"), arena);
}

/** A view of linear memory becomes an address at once, because growing memory detaches the view. */
function dataOf<A extends Float32Array | Uint8Array>(array: A, arena: Arena): Data<A> {
  const { length } = array;
  return arena.owns(array.buffer) ? { ptr: array.byteOffset, length, viewBytes: array.byteLength } : { array, length };
}

/** Like {@link checkFloats}, for exactly `length` floats; `what` says in errors what the length is made of. */
export function checkFloatsOf(title: string, value: unknown, arena: Arena, length: number, what: string): Floats {
  const floats = checkFloats(title, value, arena);
  checkLength(title, floats.length, length, what);
  return floats;
}

/** The floats as an array: the caller's, or a view of linear memory, which the next allocation may detach. */
export function floatsOf(arena: Arena, { array, ptr, length }: Floats): Float32Array {
  return array ?? floatsAt(arena, ptr, length);
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

/** The memory of a Tensor, or of a typed array; undefined for any other value. */
export function spanOf(arena: Arena, title: string, value: unknown): Span | undefined {
  if (!isTensor(value)) {
    const span = spanOfArray(value);
    return span && arena.owns(span.buffer) ? { ...span, buffer: arena.buffer } : span;
  }
  return { buffer: arena.buffer, start: value.ptrIn(arena, title), bytes: value.length * 4 };
}
