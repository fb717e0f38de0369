import { checkObject, wrongKind, wrongValue } from "../check.ts";

/** A tensor of an operator: elements in C order, and their shape. */
export interface OnnxTensor<Data = Float32Array> {
  data: Data;
  shape: readonly number[];
}

/** Integers of 32 or 64 bits. */
export type OnnxIntegers = OnnxTensor<Int32Array | BigInt64Array>;

/** A mask of booleans, one byte each. */
export type OnnxBooleans = OnnxTensor<Uint8Array>;

/** An integer or float attribute. */
export type OnnxNumber = number | bigint;

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

/** A name for each dimension, and its length where it is settled. */
export type Dims = readonly (number | string)[];

const KINDS = { Float32Array, Int32Array, BigInt64Array, Uint8Array };
type Kinds = typeof KINDS;
type KindName = keyof Kinds;
type Accepted<Names extends readonly KindName[]> = InstanceType<Kinds[Names[number]]>;

/** The arguments of one call of an operator, checked as they are asked for. */
export class Operands {
  readonly #inputs: Partial<Record<string, unknown>>;
  readonly #attributes: Partial<Record<string, unknown>>;

  /** Throws a TypeError for names that the operator does not have. */
  constructor(inputs: object, inputNames: readonly string[], attributes: object, attributeNames: readonly string[]) {
    checkObject("inputs", inputs);
    checkObject("attributes", attributes);
    checkNames("inputs", inputs, inputNames);
    checkNames("attributes", attributes, attributeNames);
    this.#inputs = inputs;
    this.#attributes = attributes;
  }

  has(name: string): boolean {
    return this.#inputs[name] !== undefined;
  }

  /** An input of floats; undefined where it is absent. `ranks`: how many dimensions it may have. */
  floats(name: string, ranks: readonly number[]): OnnxTensor | undefined {
    return this.tensor(name, ["Float32Array"], ranks);
  }

  /** An input of floats that must be there. */
  required(name: string, ranks: readonly number[]): OnnxTensor {
    const tensor = this.floats(name, ranks);
    if (!tensor) throw wrongKind(name, "{ data, shape }", undefined);
    return tensor;
  }

  /** The elements of an input of integers. */
  integers(name: string, ranks: readonly number[]): Int32Array | undefined {
    const tensor = this.tensor(name, ["Int32Array", "BigInt64Array"], ranks);
    return tensor && Int32Array.from(tensor.data as ArrayLike<number | bigint>, Number);
  }

  /** The only element of an input of integers. */
  integer(name: string): number | undefined {
    const data = this.integers(name, [0, 1, 2]);
    if (data && data.length !== 1) throw wrongValue(`${name}.data`, "one element", data.length);
    return data?.[0];
  }

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
    for (const [i, length] of shape.entries()) {
      if (!Number.isInteger(length) || length < 0) {
        throw wrongValue(`${name}.shape[${i}]`, "an integer of at least 0", length);
      }
    }
    const elements = (data as ArrayLike<unknown>).length;
    if (elements !== sizeOf(shape as number[])) {
      throw wrongValue(
        `${name}.data`,
        `a length of ${sizeOf(shape as number[])} (shape [${shape.join(", ")}])`,
        elements,
      );
    }
    return { data: data as Accepted<Names>, shape: shape as number[] };
  }

  /** A float attribute, or an integer one as a number. */
  number<Missing extends number | undefined>(name: string, missing: Missing): number | Missing {
    const value = this.#attributes[name];
    if (value === undefined) return missing;
    const number = typeof value === "bigint" ? Number(value) : value;
    if (typeof number !== "number") throw wrongKind(`attributes.${name}`, "a number", value);
    if (!Number.isFinite(number)) throw wrongValue(`attributes.${name}`, "a finite number", number);
    return number;
  }

  /** An integer attribute of at least `low`; without `missing` it must be there. */
  count(name: string, low: number, missing?: number): number {
    const value = this.number(name, missing);
    if (value === undefined) throw wrongKind(`attributes.${name}`, "an integer", undefined);
    if (!Number.isInteger(value) || value < low) {
      throw wrongValue(`attributes.${name}`, `an integer of at least ${low}`, value);
    }
    return value;
  }

  /** An attribute that is 0 or 1. */
  flag(name: string, missing = false): boolean {
    const value = this.number(name, Number(missing));
    if (value !== 0 && value !== 1) throw wrongValue(`attributes.${name}`, "0 or 1", value);
    return value === 1;
  }

  /** A list of integers. */
  list(name: string): number[] | undefined {
    const value = this.#attributes[name];
    if (value === undefined) return undefined;
    if (!Array.isArray(value) && !(value instanceof Int32Array) && !(value instanceof BigInt64Array)) {
      throw wrongKind(`attributes.${name}`, "an array of integers", value);
    }
    return Array.from(value as ArrayLike<number | bigint>, Number);
  }

  /** Refuses inputs that ask for what there is none of here. */
  refuseInputs(reason: string, ...names: string[]): void {
    for (const name of names) {
      if (this.has(name)) throw wrongValue(name, `nothing (${reason})`, this.#inputs[name]);
    }
  }

  /** Refuses an attribute unless it has the value that changes nothing. */
  refuseAttribute(name: string, neutral: number | string, reason: string): void {
    const value = this.#attributes[name];
    if (value === undefined || value === neutral || (typeof value === "bigint" && Number(value) === neutral)) return;
    throw wrongValue(`attributes.${name}`, `${neutral} (${reason})`, value);
  }
}

/** Expects a shape; dimensions given by name may have any length. */
export function checkShape(name: string, shape: readonly number[], expected: Dims): void {
  const fits =
    shape.length === expected.length && shape.every((n, i) => typeof expected[i] === "string" || n === expected[i]);
  if (!fits) throw wrongValue(`${name}.shape`, `[${expected.join(", ")}]`, `[${shape.join(", ")}]`);
}

function checkNames(title: string, given: object, known: readonly string[]): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown !== undefined) throw wrongKind(title, `no others than ${known.join(", ")}`, unknown);
}

function listOf(numbers: readonly number[]): string {
  return numbers.length < 2 ? String(numbers[0]) : `${numbers.slice(0, -1).join(", ")} or ${numbers.at(-1)!}`;
}
