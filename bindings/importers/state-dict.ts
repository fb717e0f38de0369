// The tensors of a state dict: found by name, checked, and cut into rows or columns. Every error names the tensor.

import { checkObject, checkTypedArray, quote, wrongKind, wrongValue } from "../check.ts";
import { type Weight, checkShapeHolds } from "../layer/linear-weights.ts";
import { MOST_DIMENSIONS, list } from "../options.ts";
import { kindOf, likenessOf } from "./other-tensors.ts";

/** Tensors by name, as parsers of safetensors give them: f32, in C order. @category Importers */
export type StateDict = Readonly<Record<string, Weight>> | ReadonlyMap<string, Weight>;

/** A checked tensor of a state dict. */
export interface NamedTensor {
  /** Its full name, prefix included. */
  name: string;
  /** As it was given. */
  data: Float32Array;
  shape: readonly number[];
}

/** Whether a tensor may stand below the prefix without being used. `name` is without the prefix. */
export type Harmless = (name: string, tensor: unknown) => boolean;

/** How many names an error lists. */
const LISTED = 6;

/** The tensors of a state dict whose names begin with a prefix. Each is read at most once. */
export class NamedTensors {
  readonly #dict: StateDict;
  readonly #harmless: Harmless;
  /** Ends with a separator, or is empty. */
  readonly #prefix: string;
  /** All names of the dict. */
  readonly #names: readonly string[];
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
    this.#dict = dict as StateDict;
    this.#harmless = harmless;
    this.#prefix = prefix === "" || separators.includes(prefix.at(-1)!) ? prefix : prefix + separators[0]!;
    const names: unknown[] = isMap(this.#dict) ? [...Map.prototype.keys.call(this.#dict)] : Object.keys(this.#dict);
    this.#names = names.filter((name) => typeof name === "string");
    for (const name of this.#names) {
      if (name.startsWith(this.#prefix)) this.#others.add(name.slice(this.#prefix.length));
    }
  }

  /**
   * The first tensor of `names` that the dict has, or undefined.
   *
   * @throws TypeError or RangeError where it is no { data, shape } of f32
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
    const [first, ...others] = names.map((name) => this.#prefix + name);
    const or = others.length > 0 ? ` (or ${others.join(", ")})` : "";
    throw wrongKind(first!, `a tensor { data, shape }${or}${elsewhere || this.#listOthers()}`, undefined);
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
    const full = this.#prefix + name;
    return isMap(this.#dict) ? this.#dict.get(full) : this.#dict[full];
  }

  /** The end of an error: other prefixes under which the dict has one of `names`. */
  #otherPrefixes(names: readonly string[]): string {
    const prefixes = this.#names.flatMap((key) => {
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

/** Whether a dict is a Map, of any realm. */
function isMap(dict: StateDict): dict is ReadonlyMap<string, Weight> {
  try {
    return Map.prototype.has.call(dict, "") || true;
  } catch {
    return false;
  }
}

/** Checks one entry of a state dict. */
function checkTensor(name: string, value: unknown): NamedTensor {
  checkObject(name, value);
  const { data, shape: sizes } = value as Partial<Record<string, unknown>>;
  const shape = list(sizes, MOST_DIMENSIONS);
  checkShapeHolds(name, shape, viewOf(name, data).length);
  return { name, data: data as Float32Array, shape };
}

/** A view of our own of a tensor's data: no property and no subclass of the caller's array has a say in it. */
function viewOf(name: string, data: unknown): Float32Array {
  return checkTypedArray(`${name}.data`, data, "Float32Array", "a Float32Array");
}

/**
 * Checks the sizes of every dimension of a tensor, and returns them.
 *
 * @param what the shape in words, for errors
 * @param sizes undefined stands for any size
 */
export function checkSizes({ name, shape }: NamedTensor, what: string, ...sizes: (number | undefined)[]): number[] {
  if (shape.length !== sizes.length) {
    throw wrongValue(`${name}.shape`, `${sizes.length} dimensions (${what})`, shape.length);
  }
  sizes.forEach((size, i) => {
    if (size !== undefined && shape[i] !== size) throw wrongValue(`${name}.shape[${i}]`, `${size} (${what})`, shape[i]);
  });
  return [...shape];
}

/** The rows [start, end) of a tensor along its first dimension. They share its memory. */
export function rowsOf({ name, data, shape }: NamedTensor, start: number, end: number): Weight {
  const row = shape.slice(1).reduce((product, size) => product * size, 1);
  return { data: viewOf(name, data).subarray(start * row, end * row), shape: [end - start, ...shape.slice(1)] };
}

/** The columns [start, end) of a matrix, copied. */
export function columnsOf({ name, data, shape }: NamedTensor, start: number, end: number): Weight {
  const [rows, columns] = shape as [number, number];
  const width = end - start;
  const view = viewOf(name, data);
  const part = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    part.set(view.subarray(row * columns + start, row * columns + end), row * width);
  }
  return { data: part, shape: [rows, width] };
}
