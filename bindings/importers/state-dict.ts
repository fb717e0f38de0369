// The tensors of a state dict: found by name, checked, and cut into rows or columns. Every error names the tensor.

import { checkChoice, checkObject, checkTypedArray, isTypedArray, quote, wrongKind, wrongValue } from "../check.ts";
import type { HalfArray } from "../memory/data.ts";
import { type Weight, checkShapeHolds, checkSizes } from "../layer/linear-weights.ts";
import { MOST_DIMENSIONS, list } from "../options.ts";
import { kindOf, likenessOf } from "./other-tensors.ts";

/**
 * A tensor as parsers of safetensors give it, in C order. A Uint16Array comes with its `dtype`, which may be in capitals.
 *
 * @category Importers
 */
export type StateTensor = Weight | { data: Uint16Array; dtype: "F16" | "BF16"; shape: readonly number[] };

/** Tensors by name, of 32 or 16 bits. @category Importers */
export type StateDict = Readonly<Record<string, StateTensor>> | ReadonlyMap<string, StateTensor>;

/** A checked tensor of a state dict. */
export type NamedTensor = Weight & {
  /** Its full name, prefix included. */
  name: string;
  /** Only beside 16 bits. */
  dtype?: HalfDtype;
};

type HalfDtype = HalfArray["dtype"];

/** Whether a tensor may stand below the prefix without being used. `name` is without the prefix. */
export type Harmless = (name: string, tensor: unknown) => boolean;

/** How many names an error lists. */
const LISTED = 6;

/** The tensors of a state dict whose names begin with a prefix. Each is read at most once. */
export class NamedTensors {
  readonly #harmless: Harmless;
  /** Ends with a separator, or is empty. */
  readonly #prefix: string;
  readonly #dict: Entries;
  /** The names below the prefix, without it, that nobody has asked for. */
  readonly #others = new Set<string>();
  readonly #found = new Map<string, NamedTensor>();

  /**
   * @param title the name of the argument `dict` in errors
   * @param harmless whether a tensor may stand below the prefix without being used
   * @param separators the characters that may end a prefix; the first one is added where none does
   * @throws TypeError for a dict that is no object or a prefix that is no string
   */
  constructor(title: string, dict: unknown, prefix: unknown = "", harmless: Harmless = () => false, separators = ".") {
    checkObject(title, dict);
    if (ArrayBuffer.isView(dict)) throw wrongKind(title, "tensors by name", dict);
    if (typeof prefix !== "string") throw wrongKind("prefix", "a string", prefix);
    this.#dict = entriesOf(dict as StateDict);
    this.#harmless = harmless;
    this.#prefix = prefix === "" || separators.includes(prefix.at(-1)!) ? prefix : prefix + separators[0]!;
    for (const name of this.#dict.names) {
      if (name.startsWith(this.#prefix)) this.#others.add(name.slice(this.#prefix.length));
    }
  }

  /**
   * The first tensor of `names` that the dict has, or undefined.
   *
   * @throws TypeError or RangeError where it is no { data, shape } of floats
   */
  find(...names: string[]): NamedTensor | undefined {
    for (const name of names) {
      if (this.#others.delete(name)) {
        const value = this.#read(name);
        if (value !== undefined) this.#found.set(name, checkTensor(this.#prefix + name, value));
      }
      const found = this.#found.get(name);
      if (found) return found;
    }
    return undefined;
  }

  /** Like {@link find}, and throws a TypeError where the dict has none of `names`. */
  get(...names: string[]): NamedTensor {
    const found = this.find(...names);
    if (found) return found;
    const elsewhere = this.#found.size > 0 ? "" : this.#otherPrefixes(names);
    if (!elsewhere) this.refuseOthers(true);
    const [first, ...others] = names;
    const or = others.length > 0 ? ` (or ${others.join(", ")})` : "";
    throw wrongKind(
      this.#prefix + first!,
      `a tensor { data, shape }${or}${elsewhere || this.#listOthers()}`,
      undefined,
    );
  }

  /**
   * Throws a RangeError for a tensor below the prefix that nobody has asked for: without it the layer is another one.
   *
   * @param knownOnly passes over tensors of which heed cannot say what they stand for
   */
  refuseOthers(knownOnly = false): void {
    for (const name of this.#others) {
      const kind = kindOf(name) ?? (knownOnly ? undefined : "tensor of this name");
      const value = kind && this.#read(name);
      if (value === undefined || this.#harmless(name, value)) continue;
      throw wrongValue(this.#prefix + name, `to be absent, since heed's attention has no ${kind!}`, value);
    }
  }

  #read(name: string): unknown {
    return this.#dict.read(this.#prefix + name);
  }

  /** The end of an error: other prefixes under which the dict has one of `names`. */
  #otherPrefixes(names: readonly string[]): string {
    const prefixes = this.#dict.names.flatMap((key) => {
      const name = names.find((name) => key.endsWith(name) && /[./]/.test(key.at(-1 - name.length) ?? ""));
      return name === undefined ? [] : quote(key.slice(0, -name.length));
    });
    if (prefixes.length === 0) return "";
    return `; prefixes that have one: ${prefixes.slice(0, 3).join(", ")}${prefixes.length > 3 ? ", …" : ""}`;
  }

  /** The end of an error: what stands below the prefix, and what it resembles. */
  #listOthers(): string {
    if (this.#others.size === 0) return "";
    const names = Array.from(this.#others, (name) => quote(name).slice(1, -1) + likenessOf(name));
    const more = names.length > LISTED ? `, and ${names.length - LISTED} more` : "";
    return `; ${quote(this.#prefix)} has ${names.slice(0, LISTED).join(", ")}${more}`;
  }
}

/** The names in a dict, and how the entry of one is read. */
interface Entries {
  names: readonly string[];
  read(name: string): unknown;
}

/** The entries of a Map, of any realm, or the own properties of another object. */
function entriesOf(dict: StateDict): Entries {
  try {
    const keys: unknown[] = [...Map.prototype.keys.call(dict)];
    const names = keys.filter((name) => typeof name === "string");
    return { names, read: (name) => (dict as ReadonlyMap<string, unknown>).get(name) };
  } catch {
    return { names: Object.keys(dict), read: (name) => (dict as Readonly<Record<string, unknown>>)[name] };
  }
}

/** The arrays of 16 bits, and the dtypes that they may have. */
const HALVES = { Uint16Array: ["f16", "bf16"], Float16Array: ["f16"] } as const;

/** Checks a tensor { data, shape }, such as one entry of a state dict. Its data stay as they were given. */
export function checkTensor(name: string, value: unknown): NamedTensor {
  checkObject(name, value);
  const { data, shape: sizes, dtype: given } = value as Partial<Record<string, unknown>>;
  const shape = list(sizes, MOST_DIMENSIONS);
  const kind = kindOfArray(data, given);
  checkShapeHolds(name, shape, viewOf(name, data, given).length);
  if (kind === "Float32Array") return { name, data: data as Float32Array, shape };
  // In capitals, as safetensors has it, or in small letters.
  const small = typeof given === "string" ? given.toLowerCase() : (given ?? "f16");
  const dtype = checkChoice<HalfDtype>(`${name}.dtype`, small, HALVES[kind]);
  return { name, data: data as Uint16Array, dtype, shape };
}

/** A Uint16Array without a dtype is no tensor. */
function kindOfArray(data: unknown, dtype: unknown): keyof typeof HALVES | "Float32Array" {
  if (isTypedArray("Float16Array", data)) return "Float16Array";
  return dtype !== undefined && isTypedArray("Uint16Array", data) ? "Uint16Array" : "Float32Array";
}

/** A view of our own of a tensor's data: no property and no subclass of the caller's array has a say in it. */
function viewOf(name: string, data: unknown, dtype: unknown): Float32Array | Uint16Array {
  const expected = 'a Float32Array, or 16 bits: a Float16Array, or a Uint16Array beside the dtype "F16" or "BF16"';
  return checkTypedArray(`${name}.data`, data, kindOfArray(data, dtype), expected);
}

/** A tensor of the same type with other data or another shape. */
export function weightOf({ dtype }: NamedTensor, data: NamedTensor["data"], shape: readonly number[]): Weight {
  return (dtype ? { data, dtype, shape } : { data, shape }) as Weight;
}

/**
 * A tensor, where it is there, whose sizes have been checked.
 *
 * @param what the shape in words, for errors
 * @param sizes undefined stands for any size
 */
export function sized<T extends NamedTensor | undefined>(
  tensor: T,
  what: string,
  ...sizes: readonly (number | undefined)[]
): T {
  if (tensor) checkSizes(tensor.name, tensor.shape, what, sizes);
  return tensor;
}

/**
 * Parts of a tensor whose rows follow each other in groups, such as [q, k, v, q, k, v]: each with its rows of all groups.
 * Parts of a single group share the memory of the tensor, others are copied.
 *
 * @param sizes how many rows each part has in a group
 * @param transposed whether columns of a matrix are meant instead
 */
export function partsOf(tensor: NamedTensor, sizes: readonly number[], groups = 1, transposed?: true): Weight[] {
  const values = viewOf(tensor.name, tensor.data, tensor.dtype);
  const [first, ...rest] = tensor.shape as [number, ...number[]];
  const runs = transposed ? first * groups : groups;
  const row = transposed ? 1 : product(rest);
  const stride = row * sizes.reduce((all, size) => all + size);
  let start = 0;
  return sizes.map((size) => {
    const [from, length] = [start, row * size];
    start += length;
    const shape = transposed ? [first, groups * size] : [groups * size, ...rest];
    if (runs === 1) return weightOf(tensor, values.subarray(from, start), shape);
    const part = values.slice(0, runs * length) as Float32Array;
    for (let n = 0; n < runs; n++) {
      part.set(values.subarray(n * stride + from, n * stride + from + length), n * length);
    }
    return weightOf(tensor, part, shape);
  });
}

/** How many elements an array of this shape has. */
export function product(shape: readonly number[]): number {
  return shape.reduce((elements, size) => elements * size, 1);
}
