import { wrongKind, wrongValue } from "../check.ts";
import type { Arena } from "./arena.ts";
import { Tensor } from "./tensor.ts";

/** Data to read or write: an array of the caller's, or a place in linear memory that needs no copy. */
export type Data<A> =
  { array: A; ptr?: undefined; length: number } | { array?: undefined; ptr: number; length: number };

export type Floats = Data<Float32Array>;
export type Bytes = Data<Uint8Array>;

/** A Float32Array or a Tensor of this instance. */
export function checkFloats(title: string, value: unknown, arena: Arena): Floats {
  if (value instanceof Tensor) return { ptr: value.ptrIn(arena, title), length: value.length };
  if (!(value instanceof Float32Array)) throw wrongKind(title, "a Float32Array or a Tensor", value);
  return placeOf(value, arena);
}

export function checkBytes(title: string, value: unknown, arena: Arena): Bytes {
  if (!(value instanceof Uint8Array)) throw wrongKind(title, "a Uint8Array", value);
  return placeOf(value, arena);
}

/** A view of this instance's memory counts as the place it shows: growth would detach it. */
function placeOf<A extends Float32Array | Uint8Array>(array: A, arena: Arena): Data<A> {
  const { length } = array;
  return array.buffer === arena.buffer ? { ptr: array.byteOffset, length } : { array, length };
}

/** Like {@link checkFloats}, of exactly `length` floats. */
export function checkFloatsOf(title: string, value: unknown, arena: Arena, length: number, what: string): Floats {
  const floats = checkFloats(title, value, arena);
  if (floats.length !== length) throw wrongValue(title, `a length of ${length} (${what})`, floats.length);
  return floats;
}

/** The floats, wherever they are. */
export function floatsOf(arena: Arena, { array, ptr, length }: Floats): Float32Array {
  return array ?? new Float32Array(arena.buffer, ptr, length);
}
