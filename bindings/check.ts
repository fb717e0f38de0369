import type { Arena } from "./memory/arena.ts";
import { Tensor } from "./memory/tensor.ts";

// Every complaint names the argument, what was expected and what came:
//   "k" expected a length divisible by 768 (numKvHeads × headDim), got 1000
// TypeError for the wrong kind, RangeError for the wrong size or value.

/** A value as it stands in an error message. */
function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return `a value of type ${nameOf(value)}`;
  return String(value);
}

export function nameOf(value: object): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

export function wrongKind(title: string, expected: string, got: unknown): TypeError {
  return new TypeError(`"${title}" expected ${expected}, got ${describe(got)}`);
}

export function wrongValue(title: string, expected: string, got: unknown): RangeError {
  return new RangeError(`"${title}" expected ${expected}, got ${describe(got)}`);
}

/** A plain object. */
export function checkObject(title: string, value: unknown): asserts value is object {
  if (typeof value !== "object" || value === null) throw wrongKind(title, "an object", value);
}

/** An integer of [low, high]. */
export function checkInteger(
  title: string,
  value: unknown,
  low: number,
  high: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== "number") throw wrongKind(title, "an integer", value);
  if (!Number.isInteger(value) || value < low || value > high) {
    const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`;
    throw wrongValue(title, `an integer ${range}`, value);
  }
  return value;
}

/** A number that is finite as f32, greater than `above`. */
export function checkFinite(title: string, value: unknown, above: number = -Infinity): number {
  if (typeof value !== "number") throw wrongKind(title, "a number", value);
  if (!Number.isFinite(Math.fround(value)) || Math.fround(value) <= above) {
    throw wrongValue(title, above === -Infinity ? "a finite number" : `a finite number greater than ${above}`, value);
  }
  return value;
}

/** One of some strings. */
export function checkChoice<Choice extends string>(title: string, value: unknown, choices: readonly Choice[]): Choice {
  if (choices.includes(value as Choice)) return value as Choice;
  const expected = choices.map((choice) => JSON.stringify(choice)).join(" or ");
  throw (typeof value === "string" ? wrongValue : wrongKind)(title, expected, value);
}

export function checkBoolean(title: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrongKind(title, "a boolean", value);
  return value;
}

/** An Int32Array of `length` integers of [low, high]. */
export function checkInt32Array(
  title: string,
  value: unknown,
  length: number,
  what: string,
  low: number,
  high: number,
): Int32Array {
  if (!(value instanceof Int32Array)) throw wrongKind(title, "an Int32Array", value);
  if (value.length !== length) throw wrongValue(title, `a length of ${length} (${what})`, value.length);
  const wrong = value.findIndex((n) => n < low || n > high);
  if (wrong >= 0) checkInteger(`${title}[${wrong}]`, value[wrong], low, high);
  return value;
}

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

/** How many rows of `row` floats there are. */
export function checkRows(title: string, length: number, row: number, what: string): number {
  if (length % row !== 0) throw wrongValue(title, `a length divisible by ${row} (${what})`, length);
  return length / row;
}

/** Bytes from one batch entry, head, query and key of an array over the scores to the next; 0 where it is broadcast. */
export interface ScoreStrides {
  batch: number;
  head: number;
  row: number;
  key: number;
}

/** The strides of an array of `shape` broadcast, right-aligned, to the four dimensions of `target`; `length` is that of the data. */
export function checkBroadcast(
  title: string,
  shape: unknown,
  length: number,
  target: readonly number[],
  what: string,
  elementBytes: number,
): ScoreStrides {
  if (!Array.isArray(shape)) throw wrongKind(`${title}.shape`, "an array of integers", shape);
  if (shape.length > 4) throw wrongValue(`${title}.shape`, `at most 4 dimensions (${what})`, shape.length);
  const strides = [0, 0, 0, 0];
  let elements = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const at = 4 - shape.length + i;
    const size = checkInteger(`${title}.shape[${i}]`, shape[i], 0);
    if (size !== 1 && size !== target[at]) {
      throw wrongValue(`${title}.shape[${i}]`, `1 or ${target[at]!} (${what} = [${target.join(", ")}])`, size);
    }
    if (size !== 1) strides[at] = elements * elementBytes;
    elements *= size;
  }
  if (length !== elements) {
    throw wrongValue(`${title}.data`, `a length of ${elements} (the product of shape [${shape.join(", ")}])`, length);
  }
  const [batch, head, row, key] = strides as [number, number, number, number];
  return { batch, head, row, key };
}
