import type { Arena } from "./arena.ts";
import { Tensor } from "./tensor.ts";

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

function nameOf(value: object): string {
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
  if (!Number.isFinite(Math.fround(value)) || value <= above) {
    throw wrongValue(title, above === -Infinity ? "a finite number" : `a finite number greater than ${above}`, value);
  }
  return value;
}

/** One of some strings. */
export function checkChoice<Choice extends string>(title: string, value: unknown, choices: readonly Choice[]): Choice {
  const expected = choices.map((choice) => JSON.stringify(choice)).join(" or ");
  if (typeof value !== "string") throw wrongKind(title, expected, value);
  if (!choices.includes(value as Choice)) throw wrongValue(title, expected, value);
  return value as Choice;
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
  for (let i = 0; i < length; i++) checkInteger(`${title}[${i}]`, value[i], low, high);
  return value;
}

/** Floats to read or write: an array of the caller's, or a place in linear memory that needs no copy. */
export type Floats =
  { array: Float32Array; ptr?: undefined; length: number } | { array?: undefined; ptr: number; length: number };

/** A Float32Array or a Tensor of this instance. A view of this instance's memory counts as the place it shows. */
export function checkFloats(title: string, value: unknown, arena: Arena): Floats {
  if (value instanceof Tensor) return { ptr: value.ptrIn(arena, title), length: value.length };
  if (!(value instanceof Float32Array)) throw wrongKind(title, "a Float32Array or a Tensor", value);
  if (value.buffer === arena.buffer) return { ptr: value.byteOffset, length: value.length };
  return { array: value, length: value.length };
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

/**
 * The strides, in elements, of an array of `shape` broadcast to `target`; right-aligned, 0 where a dimension is broadcast.
 * `length` is that of the data.
 */
export function checkBroadcast(
  title: string,
  shape: unknown,
  length: number,
  target: readonly number[],
  what: string,
): number[] {
  if (!Array.isArray(shape)) throw wrongKind(`${title}.shape`, "an array of integers", shape);
  if (shape.length > target.length) {
    throw wrongValue(`${title}.shape`, `at most ${target.length} dimensions (${what})`, shape.length);
  }
  const strides = target.map(() => 0);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const at = target.length - shape.length + i;
    const size = checkInteger(`${title}.shape[${i}]`, shape[i], 0);
    if (size !== 1 && size !== target[at]) {
      throw wrongValue(`${title}.shape[${i}]`, `1 or ${target[at]!} (${what} = [${target.join(", ")}])`, size);
    }
    if (size !== 1) strides[at] = stride;
    stride *= size;
  }
  if (length !== stride) {
    throw wrongValue(`${title}.data`, `a length of ${stride} (the product of shape [${shape.join(", ")}])`, length);
  }
  return strides;
}
