// Checks of arguments: each returns the value it has checked, or throws. `title` is the name of the argument. An error
// names the argument, what was expected and what was given:
//
//     "k" expected a length divisible by 768 (numKvHeads × headDim), got 1000
//
// It is a TypeError for a value of the wrong kind, and a RangeError for a wrong size or value.

/** How an error message shows a value. */
function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return `a value of type ${nameOf(value)}`;
  return String(value);
}

/** The class of an object, whatever realm it comes from: "Float32Array", "WebAssembly.Module". */
export function nameOf(value: object): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

/** The error for a value of the wrong type. */
export function wrongKind(title: string, expected: string, got: unknown): TypeError {
  return new TypeError(`"${title}" expected ${expected}, got ${describe(got)}`);
}

/** The error for a value of the right type but a wrong size, or out of range. */
export function wrongValue(title: string, expected: string, got: unknown): RangeError {
  return new RangeError(`"${title}" expected ${expected}, got ${describe(got)}`);
}

/** Checks that a value is an object. */
export function checkObject(title: string, value: unknown): asserts value is object {
  if (typeof value !== "object" || value === null) throw wrongKind(title, "an object", value);
}

/** An integer from `low` to `high`, both included. */
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

/** A number that is still finite once it is rounded to f32, and then greater than `above`. */
export function checkFinite(title: string, value: unknown, above: number = -Infinity): number {
  if (typeof value !== "number") throw wrongKind(title, "a number", value);
  if (!Number.isFinite(Math.fround(value)) || Math.fround(value) <= above) {
    throw wrongValue(title, above === -Infinity ? "a finite number" : `a finite number greater than ${above}`, value);
  }
  return value;
}

/** One of the strings `choices`. */
export function checkChoice<Choice extends string>(title: string, value: unknown, choices: readonly Choice[]): Choice {
  if (choices.includes(value as Choice)) return value as Choice;
  const expected = choices.map((choice) => JSON.stringify(choice)).join(" or ");
  throw (typeof value === "string" ? wrongValue : wrongKind)(title, expected, value);
}

/** true or false. */
export function checkBoolean(title: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrongKind(title, "a boolean", value);
  return value;
}

/** An Int32Array of `length` integers from `low` to `high`; `what` says in errors what the length is made of. */
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
  const wrong = value.findIndex((element) => element < low || element > high);
  if (wrong >= 0) checkInteger(`${title}[${wrong}]`, value[wrong], low, high);
  return value;
}

/** The batch dimension of a shape in an error message; a batch of one is left out. */
export function perBatch(batch: number): string {
  return batch > 1 ? "batch × " : "";
}

/** The number of rows of `rowLength` floats in `length` floats; `what` says in errors what a row is made of. */
export function checkRows(title: string, length: number, rowLength: number, what: string): number {
  if (length % rowLength !== 0) throw wrongValue(title, `a length divisible by ${rowLength} (${what})`, length);
  return length / rowLength;
}
