// Checks of arguments: each returns the value it has checked, or throws. `title` is the name of the argument. An error
// names the argument, what was expected and what was given:
//
//     "k" expected a length divisible by 768 (numKvHeads × headDim), got 1000
//
// It is a TypeError for a value of the wrong kind, and a RangeError for a wrong size or value.

/** The most characters of a string that an error shows. */
const SHOWN = 60;

/** How an error message shows a value. */
function describe(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (typeof value === "function") return "a function";
  if (isObject(value)) return `a value of type ${nameOf(value)}`;
  return String(value);
}

/** A string in quotes; a long one is cut. */
export function quote(text: string): string {
  return JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);
}

/** The class of an object, whatever realm it comes from: "Float32Array", "WebAssembly.Module". */
export function nameOf(value: object): string {
  try {
    return Object.prototype.toString.call(value).slice("[object ".length, -1);
  } catch {
    return "Object"; // Its toStringTag throws, or it is a revoked Proxy.
  }
}

/** The text of an error; `got` says what came. */
export function mismatch(title: string, expected: string, got: string): string {
  return `"${title}" expected ${expected}, got ${got}`;
}

/** The error for a value of the wrong type. */
export function wrongKind(title: string, expected: string, got: unknown): TypeError {
  return new TypeError(mismatch(title, expected, describe(got)));
}

/** The error for a value of the right type but a wrong size, or out of range. */
export function wrongValue(title: string, expected: string, got: unknown): RangeError {
  return new RangeError(mismatch(title, expected, describe(got)));
}

export function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Checks that a value is an object. */
export function checkObject(title: string, value: unknown): asserts value is object {
  if (!isObject(value)) throw wrongKind(title, "an object", value);
}

/** A safe integer from `low` to `high`, both included. */
export function checkInteger(title: string, value: unknown, low: number, high: number = Infinity): number {
  if (typeof value !== "number") throw wrongKind(title, "an integer", value);
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    const range = high < Infinity ? `from ${low} to ${high}` : `of at least ${low}`;
    throw wrongValue(title, `an integer ${range}`, value);
  }
  return value;
}

/** A number that is still finite once it is rounded to f32, and then greater than `above`. */
export function checkFinite(title: string, value: unknown, above: number = -Infinity): number {
  if (typeof value !== "number") throw wrongKind(title, "a number", value);
  const rounded = Math.fround(value);
  if (rounded > above && rounded < Infinity) return value;
  throw wrongValue(title, `a finite number${above > -Infinity ? ` greater than ${above}` : ""}`, value);
}

/** One of the strings `choices`. */
export function checkChoice<Choice extends string>(title: string, value: unknown, choices: readonly Choice[]): Choice {
  if (choices.includes(value as Choice)) return value as Choice;
  const expected = choices.map((choice) => `"${choice}"`).join(" or ");
  throw (typeof value === "string" ? wrongValue : wrongKind)(title, expected, value);
}

/** true or false. */
export function checkBoolean(title: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrongKind(title, "a boolean", value);
  return value;
}

/** The getters of typed arrays themselves: no property of an array can lie to them, and no code of a caller runs. */
const TYPED_ARRAY = Object.getPrototypeOf(Int8Array.prototype) as { keys: () => unknown };
const getterOf = (name: string | symbol) =>
  (Object.getOwnPropertyDescriptor(TYPED_ARRAY, name) as { get: () => unknown }).get;
const getTag = getterOf(Symbol.toStringTag);
const getLength = getterOf("length");
const getBuffer = getterOf("buffer");
const getOffset = getterOf("byteOffset");
const getBytes = getterOf("byteLength");
/** Like every method it throws for an array whose buffer was transferred, or shrunk below the array. */
const getKeys = TYPED_ARRAY.keys;

/** The kinds of typed arrays that calls take. */
const KINDS = {
  Float32Array,
  Float64Array,
  Int32Array,
  Uint8Array,
  Int8Array,
  Uint16Array,
  BigInt64Array,
  /** Of engines that have it: its bits. */
  Float16Array: Uint16Array,
};
type Kinds = typeof KINDS;

/** Whether a value is a typed array of this kind, of any realm. */
export function isTypedArray(kind: string, value: unknown): boolean {
  return getTag.call(value) === kind;
}

/**
 * A view of our own of a typed array: of any realm or subclass, over an ArrayBuffer or a SharedArrayBuffer.
 *
 * @param expected what errors say that the value should be
 * @throws TypeError for any other value, and for an array whose buffer was transferred or became too small for it
 */
export function checkTypedArray<Kind extends keyof Kinds>(
  title: string,
  value: unknown,
  kind: Kind,
  expected: string,
): InstanceType<Kinds[Kind]> {
  if (!isTypedArray(kind, value)) throw wrongKind(title, expected, value);
  return viewOf(title, value, kind, expected);
}

/** {@link checkTypedArray} of what {@link isTypedArray} of this kind. */
export function viewOf<Kind extends keyof Kinds>(
  title: string,
  value: unknown,
  kind: Kind,
  expected: string,
): InstanceType<Kinds[Kind]> {
  const length = getLength.call(value) as number;
  if (length === 0) {
    try {
      getKeys.call(value);
    } catch {
      throw new TypeError(mismatch(title, expected, "one whose buffer was transferred or shrunk"));
    }
  }
  const buffer = getBuffer.call(value) as ArrayBuffer;
  return new KINDS[kind](buffer, getOffset.call(value) as number, length) as InstanceType<Kinds[Kind]>;
}

/** A stretch of memory. */
export interface Span {
  buffer: ArrayBufferLike;
  start: number;
  bytes: number;
}

/** The memory of a typed array of any kind; undefined for any other value. */
export function spanOfArray(value: unknown): Span | undefined {
  if (getTag.call(value) === undefined) return undefined;
  const buffer = getBuffer.call(value) as ArrayBufferLike;
  return { buffer, start: getOffset.call(value) as number, bytes: getBytes.call(value) as number };
}

/** A copy of an Int32Array; nothing that happens to the caller's array later changes it. */
export function checkIntegers(title: string, value: unknown, expected: string = "an Int32Array"): Int32Array {
  return new Int32Array(checkTypedArray(title, value, "Int32Array", expected));
}

/** A copy of `length` integers from `low` to `high`; `what` says in errors what the length is made of. */
export function checkInt32Array(
  title: string,
  value: unknown,
  length: number,
  what: string,
  low: number,
  high: number,
  expected?: string,
): Int32Array {
  const integers = checkIntegers(title, value, expected);
  checkLength(title, integers.length, length, what);
  const wrong = integers.findIndex((element) => element < low || element > high);
  if (wrong >= 0) checkInteger(`${title}[${wrong}]`, integers[wrong], low, high);
  return integers;
}

/** Checks that `got` is `length`; `what` says in errors what the length is made of. */
export function checkLength(title: string, got: number, length: number, what: string): void {
  if (got !== length) throw wrongValue(title, `a length of ${length} (${what})`, got);
}

/** Checks that the shape beside the data `title` is an array. */
export function checkIsShape(title: string, shape: unknown): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) throw wrongKind(`${title}.shape`, "an array of integers", shape);
}

/** Checks that `got`, the length of data, is that of their shape: `elements`. */
export function checkElements(title: string, got: number, elements: number, shape: readonly number[]): void {
  checkLength(`${title}.data`, got, elements, `the product of shape [${shape.join(", ")}]`);
}

/** Checks that none of some options is given; `expected` says in errors why there is nothing to give. */
export function checkAbsent(options: object, names: readonly string[], expected: string, error = wrongKind): void {
  for (const name of names) {
    const value = (options as Partial<Record<string, unknown>>)[name];
    if (value !== undefined) throw error(name, expected, value);
  }
}

/** The error for a handle that was disposed of; `kind` is its class. */
export function disposed(title: string, kind: string): ReferenceError {
  return new ReferenceError(mismatch(title, `a live ${kind}`, "a disposed one"));
}

/** The error for a handle that an asynchronous call uses. */
export function inUse(title: string, kind: string): TypeError {
  return new TypeError(mismatch(title, `a ${kind} that no asynchronous call uses`, "one in use until that call ends"));
}

/** The error for a handle of another instance. */
export function notOurs(title: string, kind: string): TypeError {
  return new TypeError(mismatch(title, `a ${kind} of this instance`, "one of another"));
}

/** The batch dimension of a shape in an error message; a batch of one is left out. */
export function perBatch(batch: number): string {
  return batch > 1 ? "batch × " : "";
}

/**
 * The number of rows of `rowLength` floats in `length` floats, at most `most`; `what` says in errors what a row is made
 * of.
 */
export function checkRows(title: string, length: number, rowLength: number, what: string, most = Infinity): number {
  const rows = length / rowLength;
  if (length % rowLength !== 0) throw wrongValue(title, `a length divisible by ${rowLength} (${what})`, length);
  if (rows > most) throw wrongValue(title, `at most ${Math.floor(most)} rows a sequence`, rows);
  return rows;
}
