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

/** How many rows of `row` floats there are. */
export function checkRows(title: string, length: number, row: number, what: string): number {
  if (length % row !== 0) throw wrongValue(title, `a length divisible by ${row} (${what})`, length);
  return length / row;
}
