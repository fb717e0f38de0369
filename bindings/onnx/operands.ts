import {
  checkChoice,
  checkElements,
  checkFinite,
  checkInteger,
  checkIsShape,
  checkObject,
  checkTypedArray,
  isObject,
  isTypedArray,
  mismatch,
  wrongKind,
  wrongValue,
} from "../check.ts";
import type { INSTANCE } from "../engine/module.ts";
import type { Heed } from "../heed.ts";
import { MAX_HEADS } from "../limits.ts";
import type { Float16ArrayLike, HalfArray } from "../memory/data.ts";
import { type FloatForm, type Floats, dtypeOf } from "./halves.ts";
import { MOST_DIMENSIONS, closestName, list } from "../options.ts";

/** An input or output of an operator: elements in C order, and their shape. @category Tensors */
export interface OnnxTensor<Data = Float32Array> {
  data: Data;
  shape: readonly number[];
}

/**
 * Floats of 16 bits: `"f16"` is IEEE 754 binary16, `"bf16"` bfloat16. A Float16Array needs no dtype. @category Tensors
 */
export type OnnxHalves =
  (OnnxTensor<Uint16Array> & Pick<HalfArray, "dtype">) | (OnnxTensor<Float16ArrayLike> & { dtype?: "f16" | undefined });

/** Floats of 32 or 16 bits. @category Tensors */
export type OnnxFloats = OnnxTensor | OnnxHalves;

/** A tensor of the type of another one, in the same kind of array. @category Tensors */
export type OnnxLike<Given extends OnnxFloats> = Given extends OnnxTensor
  ? OnnxTensor
  : Given extends OnnxTensor<Uint16Array> & { dtype: infer Dtype }
    ? OnnxTensor<Uint16Array> & { dtype: Dtype }
    : OnnxTensor<Float16ArrayLike> & { dtype: "f16" };

/** Integers of 32 or 64 bits. @category Tensors */
export type OnnxIntegers = OnnxTensor<Int32Array | BigInt64Array>;

/** A mask of booleans, one byte each. @category Tensors */
export type OnnxBooleans = OnnxTensor<Uint8Array>;

/** An integer or float attribute. @category Tensors */
export type OnnxNumber = number | bigint;

/** The shape that an input must have: the size of each dimension, or a name for a dimension of any size. */
export type ShapePattern = readonly (number | string)[];

/** An input that was checked: its data are a view of our own over the memory of the caller's array, or a copy. */
export interface Operand<Data = Floats> extends OnnxTensor<Data> {
  /** Of floats, how they came. */
  form: FloatForm;
  /** The caller's array, where the data are a view. */
  source?: unknown;
}

type Elements = Floats | Int32Array | BigInt64Array | Uint8Array | Int8Array;
type Kind =
  "Float32Array" | "Float16Array" | "Uint16Array" | "Int32Array" | "BigInt64Array" | "Uint8Array" | "Int8Array";

/** What the data of an input may be. */
export const F32: readonly Kind[] = ["Float32Array"];
export const FLOATS: readonly Kind[] = ["Float32Array", "Float16Array", "Uint16Array"];
export const CACHE: readonly Kind[] = [...FLOATS, "Int8Array"];
export const INTEGERS: readonly Kind[] = ["Int32Array", "BigInt64Array"];
export const PADDING: readonly Kind[] = ["Int32Array", "BigInt64Array", "Uint8Array"];
export const MASK: readonly Kind[] = ["Uint8Array", ...FLOATS];

/** The largest size of a dimension: sums of a few are exact, and each is an integer of 32 bits. */
const MAX_SIZE = 2 ** 31 - 1;
/** The most dimensions of an input. */
const MAX_RANK = 5;

/**
 * The inputs and attributes of one call of an operator. Each is read once, and every input is checked, whether the
 * operator uses it or not. Errors name the input or attribute.
 */
export class Operands {
  readonly #inputs: ReadonlyMap<string, Operand<Elements>>;
  readonly #attributes: Given;

  /**
   * @param kinds the operator's inputs, and what their data may be
   * @throws TypeError for an input or attribute that the operator does not have, or of the wrong kind; RangeError for a
   * shape that is none, or not that of its data
   */
  constructor(
    heed: Heed,
    inputs: unknown,
    kinds: Readonly<Record<string, readonly Kind[]>>,
    attributes: unknown,
    attributeNames: readonly string[],
  ) {
    if (typeof (heed as Heed | null | undefined)?.attention !== "function") {
      throw wrongKind("heed", "an instance of heed", heed);
    }
    // What wraps an instance has no memory of its own.
    const instance = (heed as Partial<Heed>)[Symbol.for("heed.instance") as typeof INSTANCE];
    const given = readGiven("inputs", inputs, Object.keys(kinds));
    this.#attributes = readGiven("attributes", attributes, attributeNames);
    for (const name in this.#attributes) this.#attributes[name] = list(this.#attributes[name], MOST_DIMENSIONS);
    // All is read before anything is checked: reading may run code of the caller, checking does not.
    const tensors = Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [readTensor(name, value, kinds[name]!)],
    );
    this.#inputs = new Map(tensors.map((tensor) => [tensor.name, checkTensor(tensor, instance)]));
  }

  /** Whether an input is given. */
  has(name: string): boolean {
    return this.#inputs.has(name);
  }

  /** An input, or undefined. `ranks`: how many dimensions it may have. */
  tensor(name: string, ranks: readonly number[]): Operand<Elements> | undefined {
    const tensor = this.#inputs.get(name);
    const rank = tensor?.shape.length;
    if (rank !== undefined && !ranks.includes(rank)) {
      throw wrongValue(`${name}.shape`, `${listOf(ranks)} dimensions`, rank);
    }
    return tensor;
  }

  /** An input of floats, or undefined. */
  floats(name: string, ranks: readonly number[]): Operand | undefined {
    return this.tensor(name, ranks) as Operand | undefined;
  }

  /**
   * Two inputs of floats: both or none.
   *
   * @param missing the error where one is given without the other; `name` is the one that is not there
   */
  pair(
    names: readonly [string, string],
    ranks: readonly number[],
    missing = (name: string): Error => wrongKind(name, "{ data, shape } beside the other", undefined),
  ): [Operand, Operand] | undefined {
    const [first, second] = names.map((name) => this.floats(name, ranks));
    if (first && second) return [first, second];
    if (first || second) throw missing(names[first ? 1 : 0]);
    return undefined;
  }

  /** A copy of the elements of an input of integers, or undefined. Those of 64 bits must fit into 32. */
  integers(name: string, ranks: readonly number[]): Int32Array | undefined {
    const data = this.tensor(name, ranks)?.data as Int32Array | BigInt64Array | undefined;
    if (!(data instanceof BigInt64Array)) return data && new Int32Array(data);
    return Int32Array.from(data as ArrayLike<unknown> as ArrayLike<number>, (value: unknown, i) => {
      if (BigInt.asIntN(32, value as bigint) !== value)
        throw wrongValue(`${name}[${i}]`, "an integer of 32 bits", value);
      return Number(value);
    });
  }

  /**
   * The form of the first of some inputs of floats, which must have one type. Those that are absent do not count.
   *
   * @throws TypeError for one of another type
   */
  formOf(...names: string[]): FloatForm {
    const [first, ...others] = names.filter((name) => this.has(name));
    const form = first === undefined ? "f32" : this.#inputs.get(first)!.form;
    for (const name of others) {
      const dtype = dtypeOf(this.#inputs.get(name)!.form);
      if (dtype !== dtypeOf(form))
        throw new TypeError(mismatch(name, `${dtypeOf(form)} (the type of ${first})`, dtype));
    }
    return form;
  }

  /** An input that is one integer, or undefined. */
  integer(name: string): number | undefined {
    const data = this.integers(name, [0, 1, 2]);
    if (data && data.length !== 1) throw wrongValue(`${name}.data`, "one element", data.length);
    return data?.[0];
  }

  /** An attribute as a number that is finite in f32; `missing` where it is absent. */
  number<Missing extends number | undefined>(name: string, missing: Missing): number | Missing {
    const value = this.#attributes[name];
    return value === undefined ? missing : checkFinite(`attributes.${name}`, fromBigInt(`attributes.${name}`, value));
  }

  /** A float attribute of at least 0. */
  magnitude(name: string, missing: number): number {
    const value = this.number(name, missing);
    if (value < 0) throw wrongValue(`attributes.${name}`, "a finite number of at least 0", value);
    return value;
  }

  /** An integer attribute from `low` to `high`. Without `missing` it must be there. */
  count(name: string, low: number, missing?: number, high?: number): number {
    const [title, given] = [`attributes.${name}`, this.#attributes[name]];
    return checkInteger(title, fromBigInt(title, given === undefined ? missing : given), low, high);
  }

  /** An attribute that counts heads, and must be there. */
  heads(name: string): number {
    return this.count(name, 1, undefined, MAX_HEADS);
  }

  /** An attribute that is 0 or 1, as a boolean. */
  flag(name: string, missing = false): boolean {
    const value = this.number(name, Number(missing));
    if (value !== 0 && value !== 1) throw wrongValue(`attributes.${name}`, "0 or 1", value);
    return value === 1;
  }

  /** An attribute that is a list of integers of at least 0, or undefined. */
  list(name: string): number[] | undefined {
    const [title, value] = [`attributes.${name}`, this.#attributes[name]];
    if (value === undefined) return undefined;
    const kind = INTEGERS.find((kind) => isTypedArray(kind, value));
    const values = kind ? Array.from(checkTypedArray(title, value, kind, "integers") as ArrayLike<unknown>) : value;
    if (!Array.isArray(values)) throw wrongKind(title, "an array of integers", value);
    return values.map((size: unknown, i) => checkInteger(`${title}[${i}]`, fromBigInt(`${title}[${i}]`, size), 0));
  }

  /** Throws a RangeError where one of these inputs is given: heed does not compute what it asks for. */
  refuseInputs(reason: string, ...names: string[]): void {
    for (const name of names) {
      if (this.has(name)) throw wrongValue(name, `nothing (${reason})`, this.#inputs.get(name));
    }
  }

  /** An attribute as it was given. */
  attribute(name: string): unknown {
    return this.#attributes[name];
  }
}

/** An input of floats that must be there. */
export function required(operands: Operands, name: string, ranks: readonly number[]): Operand {
  const tensor = operands.floats(name, ranks);
  if (!tensor) throw wrongKind(name, "{ data, shape }", undefined);
  return tensor;
}

/** Throws a RangeError unless an attribute is absent or `neutral`: heed does not compute what others ask for. */
export function refuseAttribute(operands: Operands, name: string, neutral: number | string, reason: string): void {
  const value = operands.attribute(name);
  if (value === undefined || value === neutral || (typeof value === "bigint" && Number(value) === neutral)) return;
  throw wrongValue(`attributes.${name}`, `${neutral} (${reason})`, value);
}

/** What a caller gave, by name. */
type Given = Partial<Record<string, unknown>>;

/**
 * The own enumerable properties of an object, each read once, in an object that inherits nothing.
 *
 * @param known the names that there may be, where these are settled
 * @throws TypeError for what is no object, and for a name that is not `known`
 */
export function readGiven(title: string, given: unknown, known?: readonly string[]): Given {
  checkObject(title, given);
  const read = Object.assign(Object.create(null) as Given, given);
  const unknown = known && Object.keys(read).find((name) => !known.includes(name));
  if (unknown === undefined) return read;
  const error = wrongKind(title, `no others than ${known!.join(", ")}`, unknown);
  const meant = closestName(unknown, known!);
  throw meant === undefined ? error : new TypeError(`${error.message}; did you mean "${meant}"?`);
}

/** An input as it was read. */
interface GivenTensor {
  name: string;
  data: unknown;
  shape: unknown;
  dtype: unknown;
  kinds: readonly Kind[];
}

/** Reads { data, shape, dtype }. */
function readTensor(name: string, value: unknown, kinds: readonly Kind[]): GivenTensor {
  if (!isObject(value)) throw wrongKind(name, "{ data, shape }", value);
  const { data, shape, dtype } = value as Given;
  return { name, data, shape: list(shape, MOST_DIMENSIONS), dtype, kinds };
}

/**
 * Checks { data, shape }. Data in the memory of the instance are copied: the operator may grow the memory, and so may
 * other calls before an output is made, which detaches every view of it.
 */
function checkTensor(
  { name, data: source, shape, dtype, kinds }: GivenTensor,
  instance: Heed[typeof INSTANCE] | undefined,
): Operand<Elements> {
  const kind = kinds.find((kind) => isTypedArray(kind, source)) ?? kinds[0]!;
  const data = checkTypedArray(`${name}.data`, source, kind, kinds.join(" or "));
  const form = kind === "Uint16Array" || kind === "Float16Array" ? halfForm(name, kind, dtype) : "f32";
  checkIsShape(name, shape);
  if (shape.length > MAX_RANK) throw wrongValue(`${name}.shape`, `at most ${MAX_RANK} dimensions`, shape.length);
  shape.forEach((size, i) => checkInteger(`${name}.shape[${i}]`, size, 0, MAX_SIZE));
  const elements = elementsOf(shape);
  checkElements(name, data.length, elements, shape);
  return instance?.arena.owns(data.buffer) ? { data: data.slice(), shape, form } : { data, shape, form, source };
}

/** The form of floats of 16 bits. The dtype of a Float16Array may be left out. */
function halfForm(name: string, kind: "Uint16Array" | "Float16Array", dtype: unknown): FloatForm {
  if (kind === "Uint16Array") return checkChoice(`${name}.dtype`, dtype, ["f16", "bf16"]);
  if (dtype !== undefined) checkChoice(`${name}.dtype`, dtype, ["f16"]);
  return kind;
}

/** A bigint as a number; any other value as it is. */
function fromBigInt(title: string, value: unknown): unknown {
  if (typeof value !== "bigint") return value;
  if (!Number.isSafeInteger(Number(value))) throw wrongValue(title, "an integer of 53 bits", value);
  return Number(value);
}

/** How many elements a shape has, in doubles: it may be more than any array holds. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Throws a RangeError unless `shape` has the form of `expected`. */
export function checkShape(name: string, shape: readonly number[], expected: ShapePattern): void {
  const fits =
    shape.length === expected.length && shape.every((n, i) => typeof expected[i] === "string" || n === expected[i]);
  if (!fits) throw wrongValue(`${name}.shape`, shown(expected), shown(shape));
}

/** A shape in an error. */
export function shown(shape: ShapePattern): string {
  return `[${shape.join(", ")}]`;
}

/** Throws a RangeError for an element that is not from `low` to `high`; `what` says in it what these are made of. */
export function checkEach(name: string, values: Int32Array, low: number, high: number, what: string): void {
  const wrong = values.findIndex((value) => value < low || value > high);
  if (wrong >= 0) throw wrongValue(`${name}[${wrong}]`, `from ${low} to ${high} (${what})`, values[wrong]);
}

/** "3", or "3, 4 or 5". */
function listOf(numbers: readonly number[]): string {
  return numbers.length < 2 ? String(numbers[0]) : `${numbers.slice(0, -1).join(", ")} or ${numbers.at(-1)!}`;
}
