import { checkObject, wrongKind, wrongValue } from "../check.ts";

/** An input or output of an operator: elements in C order, and their shape. @category Tensors */
export interface OnnxTensor<Data = Float32Array> {
  data: Data;
  shape: readonly number[];
}

/** Integers of 32 or 64 bits. @category Tensors */
export type OnnxIntegers = OnnxTensor<Int32Array | BigInt64Array>;

/** A mask of booleans, one byte each. @category Tensors */
export type OnnxBooleans = OnnxTensor<Uint8Array>;

/** An integer or float attribute. @category Tensors */
export type OnnxNumber = number | bigint;

/** The shape that an input must have: the size of each dimension, or a name for a dimension of any size. */
export type ShapePattern = readonly (number | string)[];

const KINDS = { Float32Array, Int32Array, BigInt64Array, Uint8Array };
type Kinds = typeof KINDS;
type KindName = keyof Kinds;
type Accepted<Names extends readonly KindName[]> = InstanceType<Kinds[Names[number]]>;

/** The inputs and attributes of one call of an operator. Each is checked when it is read, and named in the error. */
export class Operands {
  readonly #inputs: Partial<Record<string, unknown>>;
  readonly #attributes: Partial<Record<string, unknown>>;

  /** @throws TypeError for an input or attribute that the operator does not have */
  constructor(inputs: object, inputNames: readonly string[], attributes: object, attributeNames: readonly string[]) {
    checkObject("inputs", inputs);
    checkObject("attributes", attributes);
    checkNames("inputs", inputs, inputNames);
    checkNames("attributes", attributes, attributeNames);
    this.#inputs = inputs;
    this.#attributes = attributes;
  }

  /** Whether an input is given. */
  has(name: string): boolean {
    return this.#inputs[name] !== undefined;
  }

  /** An input of floats, or undefined. `ranks`: how many dimensions it may have. */
  floats(name: string, ranks: readonly number[]): OnnxTensor | undefined {
    return this.tensor(name, ["Float32Array"], ranks);
  }

  /** An input of floats that must be there. */
  required(name: string, ranks: readonly number[]): OnnxTensor {
    const tensor = this.floats(name, ranks);
    if (!tensor) throw wrongKind(name, "{ data, shape }", undefined);
    return tensor;
  }

  /** The elements of an input of integers, or undefined. */
  integers(name: string, ranks: readonly number[]): Int32Array | undefined {
    const tensor = this.tensor(name, ["Int32Array", "BigInt64Array"], ranks);
    return tensor && Int32Array.from(tensor.data as ArrayLike<number | bigint>, Number);
  }

  /** An input that is one integer, or undefined. */
  integer(name: string): number | undefined {
    const data = this.integers(name, [0, 1, 2]);
    if (data && data.length !== 1) throw wrongValue(`${name}.data`, "one element", data.length);
    return data?.[0];
  }

  /** An input whose data is one of `kinds`, or undefined. `ranks`: how many dimensions it may have. */
  tensor<const Names extends readonly KindName[]>(
    name: string,
    kinds: Names,
    ranks: readonly number[],
  ): OnnxTensor<Accepted<Names>> | undefined {
    const value = this.#inputs[name];
    if (value === undefined) return undefined;
    if (typeof value !== "object" || value === null) throw wrongKind(name, "{ data, shape }", value);
    const { data, shape } = value as Partial<Record<string, unknown>>;
    if (!kinds.some((kind) => data instanceof KINDS[kind])) throw wrongKind(`${name}.data`, kinds.join(" or "), data);
    if (!Array.isArray(shape)) throw wrongKind(`${name}.shape`, "an array of integers", shape);
    if (!ranks.includes(shape.length)) throw wrongValue(`${name}.shape`, `${listOf(ranks)} dimensions`, shape.length);
    for (const [i, size] of shape.entries()) {
      if (!Number.isInteger(size) || size < 0) {
        throw wrongValue(`${name}.shape[${i}]`, "an integer of at least 0", size);
      }
    }
    const length = (data as ArrayLike<unknown>).length;
    const expected = (shape as number[]).reduce((product, size) => product * size, 1);
    if (length !== expected) {
      throw wrongValue(`${name}.data`, `a length of ${expected} (shape [${shape.join(", ")}])`, length);
    }
    return { data: data as Accepted<Names>, shape: shape as number[] };
  }

  /** An attribute as a number; `missing` where it is absent. */
  number<Missing extends number | undefined>(name: string, missing: Missing): number | Missing {
    const value = this.#attributes[name];
    if (value === undefined) return missing;
    const number = typeof value === "bigint" ? Number(value) : value;
    if (typeof number !== "number") throw wrongKind(`attributes.${name}`, "a number", value);
    if (!Number.isFinite(number)) throw wrongValue(`attributes.${name}`, "a finite number", number);
    return number;
  }

  /** An integer attribute of at least `low`. Without `missing` it must be there. */
  count(name: string, low: number, missing?: number): number {
    const value = this.number(name, missing);
    if (value === undefined) throw wrongKind(`attributes.${name}`, "an integer", undefined);
    if (!Number.isInteger(value) || value < low) {
      throw wrongValue(`attributes.${name}`, `an integer of at least ${low}`, value);
    }
    return value;
  }

  /** An attribute that is 0 or 1, as a boolean. */
  flag(name: string, missing = false): boolean {
    const value = this.number(name, Number(missing));
    if (value !== 0 && value !== 1) throw wrongValue(`attributes.${name}`, "0 or 1", value);
    return value === 1;
  }

  /** An attribute that is a list of integers, or undefined. */
  list(name: string): number[] | undefined {
    const value = this.#attributes[name];
    if (value === undefined) return undefined;
    if (!Array.isArray(value) && !(value instanceof Int32Array) && !(value instanceof BigInt64Array)) {
      throw wrongKind(`attributes.${name}`, "an array of integers", value);
    }
    return Array.from(value as ArrayLike<number | bigint>, Number);
  }

  /** Throws a RangeError where one of these inputs is given: heed does not compute what it asks for. */
  refuseInputs(reason: string, ...names: string[]): void {
    for (const name of names) {
      if (this.has(name)) throw wrongValue(name, `nothing (${reason})`, this.#inputs[name]);
    }
  }

  /** Throws a RangeError unless an attribute is absent or `neutral`: heed does not compute what others ask for. */
  refuseAttribute(name: string, neutral: number | string, reason: string): void {
    const value = this.#attributes[name];
    if (value === undefined || value === neutral || (typeof value === "bigint" && Number(value) === neutral)) return;
    throw wrongValue(`attributes.${name}`, `${neutral} (${reason})`, value);
  }
}

/** Throws a RangeError unless `shape` has the form of `expected`. */
export function checkShape(name: string, shape: readonly number[], expected: ShapePattern): void {
  const fits =
    shape.length === expected.length && shape.every((n, i) => typeof expected[i] === "string" || n === expected[i]);
  if (!fits) throw wrongValue(`${name}.shape`, `[${expected.join(", ")}]`, `[${shape.join(", ")}]`);
}

/** Throws a TypeError for a key of `given` that is not `known`. */
function checkNames(title: string, given: object, known: readonly string[]): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown !== undefined) throw wrongKind(title, `no others than ${known.join(", ")}`, unknown);
}

/** "3", or "3, 4 or 5". */
function listOf(numbers: readonly number[]): string {
  return numbers.length < 2 ? String(numbers[0]) : `${numbers.slice(0, -1).join(", ")} or ${numbers.at(-1)!}`;
}
