// The tensors of a model, in any order: each is taken by the part of the model that it belongs to, which is built as soon
// as the last of its tensors is there, so that no more stands in memory than what is built and what a part waits for.

import { checkInteger, isObject, quote, wrongKind, wrongValue } from "../../check.ts";

/** A tensor as parsers of safetensors give it. @category Models */
export interface ModelTensor {
  /** Float32Array; or the bits of 16-bit floats, with a dtype. */
  readonly data: Float32Array | Uint16Array;
  readonly shape: readonly number[];
  /** "F32", "F16" or "BF16". Default "F32". */
  readonly dtype?: string | undefined;
}

/** The tensors of a model by their names: an object, a Map, or entries one after the other. @category Models */
export type ModelTensors =
  | Readonly<Record<string, ModelTensor>>
  | Iterable<readonly [string, ModelTensor]>
  | AsyncIterable<readonly [string, ModelTensor]>;

/** A checked tensor. */
export interface Floats {
  readonly data: Float32Array | Uint16Array;
  readonly shape: readonly number[];
  readonly dtype: "f32" | "f16" | "bf16";
}

/** The tensors of a part, by what they are to it. */
export type Taken<Role extends string> = Readonly<Partial<Record<Role, Floats>>>;

/** A size that a tensor may have as it likes. */
export const ANY = 0;

interface Part {
  readonly wanted: Map<string, { role: string; shape: readonly number[] }>;
  taken: Record<string, Floats>;
  /** Undefined once built. */
  build: ((taken: Taken<string>) => void) | undefined;
  /** Where the part may be missing: the tensor without which the others have no influence. */
  readonly unless: string | undefined;
}

/** What a model waits for. */
export class Parts {
  readonly #parts: Part[] = [];
  readonly #partOf = new Map<string, Part>();

  /**
   * A part that is built of the tensors of some names, once they are all there.
   *
   * @param wanted name and shape of each role; undefined for a role that the part does not have
   * @param unless the role without whose tensor the part may be missing
   */
  add<Role extends string>(
    wanted: Readonly<Partial<Record<Role, readonly [name: string, shape: readonly number[]] | undefined>>>,
    build: (taken: Taken<Role>) => void,
    unless?: NoInfer<Role>,
  ): void {
    const part: Part = { wanted: new Map(), taken: {}, build, unless: unless && wanted[unless]?.[0] };
    for (const role in wanted) {
      const [name, shape] = wanted[role] ?? [];
      if (name === undefined) continue;
      part.wanted.set(name, { role, shape: shape! });
      this.#partOf.set(name, part);
    }
    this.#parts.push(part);
  }

  /** Whether some part has a tensor of this name. */
  knows(name: string): boolean {
    return this.#partOf.has(name);
  }

  /** Hands a tensor to its part; `title` is what errors call it. */
  take(name: string, tensor: unknown, title: string): void {
    const part = this.#partOf.get(name)!;
    const { role, shape } = part.wanted.get(name)!;
    if (part.build === undefined || Object.hasOwn(part.taken, role)) throw wrongValue(title, "a name once", "it again");
    part.taken[role] = checkTensor(title, tensor, shape);
    if (Object.keys(part.taken).length < part.wanted.size) return;
    part.build(part.taken);
    part.build = undefined;
    part.taken = {};
  }

  /** Throws a TypeError that names a tensor which is missing. */
  finish(): void {
    for (const { wanted, taken, build, unless } of this.#parts) {
      if (build === undefined || (unless !== undefined && !Object.hasOwn(taken, wanted.get(unless)!.role))) continue;
      for (const [name, { role, shape }] of wanted) {
        if (Object.hasOwn(taken, role)) continue;
        throw wrongKind(`tensors[${quote(name)}]`, `a tensor of ${shapeOf(shape)}`, undefined);
      }
    }
  }
}

function shapeOf(shape: readonly number[]): string {
  return `[${shape.map((size) => (size === ANY ? "any" : size)).join(", ")}]`;
}

/** Checks a tensor of a shape. */
function checkTensor(title: string, given: unknown, expected: readonly number[]): Floats {
  if (!isObject(given)) throw wrongKind(title, "{ data, shape }", given);
  const { data, shape, dtype: name = "F32" } = given as Partial<ModelTensor>;
  const dtype = typeof name === "string" ? name.toLowerCase() : name;
  if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") {
    throw wrongValue(`${title}.dtype`, '"F32", "F16" or "BF16"', name);
  }
  const Kind = dtype === "f32" ? Float32Array : Uint16Array;
  if (!(data instanceof Kind)) throw wrongKind(`${title}.data`, `a ${Kind.name}`, data);
  const sizes = Array.isArray(shape) ? (shape as unknown[]).map((size) => checkInteger(`${title}.shape`, size, 0)) : [];
  if (sizes.length !== expected.length || expected.some((size, n) => size !== ANY && size !== sizes[n])) {
    throw wrongValue(`${title}.shape`, shapeOf(expected), shapeOf(sizes));
  }
  const length = sizes.reduce((product, size) => product * size, 1);
  if (data.length !== length) throw wrongValue(`${title}.data.length`, `${length}, as its shape says`, data.length);
  return { data, shape: sizes, dtype };
}

/** Rows of floats of 32 bits: those of `from` are not changed. */
export function toF32({ data, dtype }: Pick<Floats, "data" | "dtype">): Float32Array {
  if (data instanceof Float32Array) return data;
  const out = new Float32Array(data.length);
  if (dtype === "bf16") {
    const bits = new Uint32Array(out.buffer);
    for (let n = 0; n < data.length; n++) bits[n] = data[n]! << 16;
    return out;
  }
  for (let n = 0; n < data.length; n++) {
    const half = data[n]!;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent < 31
          ? (1024 + fraction) * 2 ** (exponent - 25)
          : fraction
            ? NaN
            : Infinity;
    out[n] = half & 0x8000 ? -size : size;
  }
  return out;
}

/** One tensor behind the other, of equal rows. */
export function joined(first: Floats, second: Floats): Floats {
  const [a, b] = first.dtype === second.dtype ? [first.data, second.data] : [toF32(first), toF32(second)];
  const data = new (a.constructor as typeof Float32Array)(a.length + b.length);
  data.set(a);
  data.set(b, a.length);
  const [rows, ...rest] = first.shape;
  return {
    data,
    shape: [rows! + second.shape[0]!, ...rest],
    dtype: data instanceof Float32Array ? "f32" : first.dtype,
  };
}

/** Features [from, from + count) of a weight: rows, or columns where it is transposed; or of a bias. */
export function features(of: Floats, from: number, count: number, transposed: boolean): Floats {
  const { data, shape, dtype } = of;
  if (!transposed || shape.length === 1) {
    const width = shape[1] ?? 1;
    return { data: data.subarray(from * width, (from + count) * width), shape: [count, ...shape.slice(1)], dtype };
  }
  const [rows, width] = shape as [number, number];
  const part = new (data.constructor as typeof Float32Array)(rows * count);
  for (let row = 0; row < rows; row++) {
    part.set(data.subarray(row * width + from, row * width + from + count), row * count);
  }
  return { data: part, shape: [rows, count], dtype };
}
