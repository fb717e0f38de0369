// Tensors by name, found, checked and cut. Every complaint names the tensor.

import { checkObject, wrongKind, wrongValue } from "../check.ts";
import { type Weight, checkShape } from "../layer/linear-weights.ts";

/** Tensors by name, as safetensors parsers and the like give them: f32, in C order. */
export type StateDict = Readonly<Record<string, Weight>> | ReadonlyMap<string, Weight>;

/** A tensor of a state dict, checked: its name, floats and shape. */
export interface Named {
  name: string;
  data: Float32Array;
  shape: readonly number[];
}

/** A state dict below a prefix. */
export class Names {
  readonly #dict: StateDict;
  readonly #prefix: string;

  constructor(title: string, dict: unknown, prefix: unknown = "", separators = ".") {
    checkObject(title, dict);
    if (typeof prefix !== "string") throw wrongKind("prefix", "a string", prefix);
    this.#dict = dict as StateDict;
    this.#prefix = prefix === "" || separators.includes(prefix.at(-1)!) ? prefix : prefix + separators[0]!;
  }

  /** The tensor of the first of `names` that is there. */
  find(...names: string[]): Named | undefined {
    for (const name of names) {
      const full = this.#prefix + name;
      const value: unknown = isMap(this.#dict) ? this.#dict.get(full) : this.#dict[full];
      if (value !== undefined) return checkTensor(full, value);
    }
    return undefined;
  }

  get(...names: string[]): Named {
    const found = this.find(...names);
    if (found) return found;
    const [first, ...others] = names.map((name) => this.#prefix + name);
    const or = others.length > 0 ? ` (or ${others.join(", ")})` : "";
    throw wrongKind(first!, `a tensor { data, shape }${or}${this.#hint(names)}`, undefined);
  }

  /** Complains of a tensor that is there and means something that heed does not compute. */
  refuse(name: string, expected: string): void {
    const found = this.find(name);
    if (found) throw wrongValue(found.name, expected, `a tensor of shape [${found.shape.join(", ")}]`);
  }

  /** Prefixes below which one of the names does stand. */
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

function checkTensor(name: string, value: unknown): Named {
  checkObject(name, value);
  const { data, shape } = value as Partial<Weight>;
  if (!(data instanceof Float32Array)) throw wrongKind(`${name}.data`, "a Float32Array", data);
  checkShape(name, shape, data.length);
  return { name, data, shape };
}

/** Expects dimensions of these sizes; undefined stands for any. Returns the sizes. */
export function sizesOf({ name, shape }: Named, what: string, ...sizes: (number | undefined)[]): number[] {
  if (shape.length !== sizes.length) {
    throw wrongValue(`${name}.shape`, `${sizes.length} dimensions (${what})`, shape.length);
  }
  sizes.forEach((size, i) => {
    if (size !== undefined && shape[i] !== size) throw wrongValue(`${name}.shape[${i}]`, `${size} (${what})`, shape[i]);
  });
  return [...shape];
}

/** Rows `start` … `end` of a tensor, along its first dimension. */
export function rowsOf({ data, shape }: Named, start: number, end: number): Weight {
  const row = shape.slice(1).reduce((product, size) => product * size, 1);
  return { data: data.subarray(start * row, end * row), shape: [end - start, ...shape.slice(1)] };
}

/** Columns `start` … `end` of a matrix, copied. */
export function columnsOf({ data, shape }: Named, start: number, end: number): Weight {
  const [rows, columns] = shape as [number, number];
  const width = end - start;
  const part = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    part.set(data.subarray(row * columns + start, row * columns + end), row * width);
  }
  return { data: part, shape: [rows, width] };
}
