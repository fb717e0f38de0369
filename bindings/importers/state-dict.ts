// The tensors of a state dict: found by name, checked, and cut into rows or columns. Every error names the tensor.

import { checkObject, wrongKind, wrongValue } from "../check.ts";
import { type Weight, checkShapeHolds } from "../layer/linear-weights.ts";

/** Tensors by name, as parsers of safetensors give them: f32, in C order. @category Importers */
export type StateDict = Readonly<Record<string, Weight>> | ReadonlyMap<string, Weight>;

/** A checked tensor of a state dict. */
export interface NamedTensor {
  /** Its full name, prefix included. */
  name: string;
  data: Float32Array;
  shape: readonly number[];
}

/** The tensors of a state dict whose names begin with a prefix. */
export class NamedTensors {
  readonly #dict: StateDict;
  /** Ends with a separator, or is empty. */
  readonly #prefix: string;

  /**
   * @param title the name of the argument `dict` in errors
   * @param separators the characters that may end a prefix; the first one is added where none does
   * @throws TypeError for a dict that is no object or a prefix that is no string
   */
  constructor(title: string, dict: unknown, prefix: unknown = "", separators = ".") {
    checkObject(title, dict);
    if (typeof prefix !== "string") throw wrongKind("prefix", "a string", prefix);
    this.#dict = dict as StateDict;
    this.#prefix = prefix === "" || separators.includes(prefix.at(-1)!) ? prefix : prefix + separators[0]!;
  }

  /**
   * The first tensor of `names` that the dict has, or undefined.
   *
   * @throws TypeError or RangeError where it is no { data, shape } of f32
   */
  find(...names: string[]): NamedTensor | undefined {
    for (const name of names) {
      const full = this.#prefix + name;
      const value: unknown = isMap(this.#dict) ? this.#dict.get(full) : this.#dict[full];
      if (value !== undefined) return checkTensor(full, value);
    }
    return undefined;
  }

  /** Like {@link find}, and throws a TypeError where the dict has none of `names`. */
  get(...names: string[]): NamedTensor {
    const found = this.find(...names);
    if (found) return found;
    const [first, ...others] = names.map((name) => this.#prefix + name);
    const or = others.length > 0 ? ` (or ${others.join(", ")})` : "";
    throw wrongKind(first!, `a tensor { data, shape }${or}${this.#hint(names)}`, undefined);
  }

  /** Throws a RangeError where the dict has a tensor that stands for something heed does not compute. */
  refuse(name: string, expected: string): void {
    const found = this.find(name);
    if (found) throw wrongValue(found.name, expected, `a tensor of shape [${found.shape.join(", ")}]`);
  }

  /** The end of an error: other prefixes under which the dict has one of `names`. */
  #hint(names: readonly string[]): string {
    const keys = isMap(this.#dict) ? [...this.#dict.keys()] : Object.keys(this.#dict);
    const prefixes = keys.flatMap((key) => {
      const name = names.find((name) => key.endsWith(name));
      return name === undefined || key.length === name.length ? [] : JSON.stringify(key.slice(0, -name.length));
    });
    if (prefixes.length === 0) return "";
    return `; prefixes that have one: ${prefixes.slice(0, 3).join(", ")}${prefixes.length > 3 ? ", …" : ""}`;
  }
}

function isMap(dict: StateDict): dict is ReadonlyMap<string, Weight> {
  return dict instanceof Map;
}

/** Checks one entry of a state dict. */
function checkTensor(name: string, value: unknown): NamedTensor {
  checkObject(name, value);
  const { data, shape } = value as Partial<Weight>;
  if (!(data instanceof Float32Array)) throw wrongKind(`${name}.data`, "a Float32Array", data);
  checkShapeHolds(name, shape, data.length);
  return { name, data, shape };
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
export function rowsOf({ data, shape }: NamedTensor, start: number, end: number): Weight {
  const row = shape.slice(1).reduce((product, size) => product * size, 1);
  return { data: data.subarray(start * row, end * row), shape: [end - start, ...shape.slice(1)] };
}

/** The columns [start, end) of a matrix, copied. */
export function columnsOf({ data, shape }: NamedTensor, start: number, end: number): Weight {
  const [rows, columns] = shape as [number, number];
  const width = end - start;
  const part = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    part.set(data.subarray(row * columns + start, row * columns + end), row * width);
  }
  return { data: part, shape: [rows, width] };
}
