import type { Stage } from "../attention-weights/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import { checkInteger, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { MAX_DIM } from "../limits.ts";
import type { HalfArray } from "../memory/data.ts";
import type { Layout } from "../memory/layout.ts";
import { type FloatForm, type Floats, dtypeOf, given, returned, rounded, widened, zeros } from "./halves.ts";
import { type OnnxTensor, type Operand, type Operands, checkShape, elementsOf } from "./operands.ts";

/** The sizes of {@link Rows}: `length` rows of `dim` floats for each of `heads` heads of each of `batch` entries. */
export interface RowSizes {
  batch: number;
  heads: number;
  length: number;
  dim: number;
}

/**
 * The rows of q, k, v or an output, in the layout in which they came; the other layout is made when it is first read.
 */
export class Rows<Data extends Floats | Int8Array = Floats> implements RowSizes {
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly dim: number;
  /** The layout of `data`. */
  readonly layout: Layout;
  readonly data: Data;
  /** Of floats, how they came, and how an output of them comes. */
  readonly form: FloatForm;
  /** The caller's array, where `data` is a view of it. */
  readonly #source: unknown;
  /** `data` in the other layout, once it was read. */
  #other: Data | undefined;

  constructor(
    { batch, heads, length, dim }: RowSizes,
    layout: Layout,
    data: Data,
    form: FloatForm = "f32",
    source?: unknown,
  ) {
    this.batch = batch;
    this.heads = heads;
    this.length = length;
    this.dim = dim;
    this.layout = layout;
    this.data = data;
    this.form = form;
    this.#source = source;
  }

  /** [batch, heads, length, dim] */
  get shape(): [number, number, number, number] {
    return [this.batch, this.heads, this.length, this.dim];
  }

  /** Whether there are no rows, whatever the sizes. */
  get isEmpty(): boolean {
    return this.batch === 0 || this.length === 0;
  }

  /** The floats in this layout: those that came in, or a copy that is made once. */
  dataIn(layout: Layout): Data {
    const { batch, heads, length, dim } = this;
    if (layout === this.layout || heads === 1 || length === 1 || this.isEmpty) return this.data;
    const [outer, inner] = layout === "bhld" ? [length, heads] : [heads, length];
    return (this.#other ??= swapMiddle(this.data, batch, outer, inner, dim));
  }

  /** As a tensor [batch, heads, length, dim]. */
  get unpacked(): OnnxTensor<unknown> {
    const data = this.dataIn("bhld");
    return data === this.data && this.#source !== undefined
      ? withDtype(this.#source, this.shape, this.form)
      : tensorOf(data, this.shape, this.form);
  }

  /** As a tensor [batch, length, heads·dim]. */
  get packed(): OnnxTensor<unknown> {
    return tensorOf(this.dataIn("blhd"), [this.batch, this.length, this.heads * this.dim], this.form);
  }
}

/** An output: its data in their form, which has a dtype where it is of 16 bits. */
export function tensorOf(data: Floats | Int8Array, shape: readonly number[], form: FloatForm): OnnxTensor<unknown> {
  return withDtype(data instanceof Int8Array ? data : returned(data, form), shape, form);
}

function withDtype(data: unknown, shape: readonly number[], form: FloatForm): OnnxTensor<unknown> {
  return form === "f32" ? { data, shape } : ({ data, shape, dtype: dtypeOf(form) } as OnnxTensor<unknown>);
}

/** Rows of floats as f32. */
export function inF32(rows: Rows): Rows<Float32Array> {
  return new Rows(rows, rows.layout, widened(rows.data, rows.form));
}

/** Rows of floats in the type of `form`: themselves, or rounded. */
export function inForm(rows: Rows, form: FloatForm): Rows {
  if (dtypeOf(rows.form) === dtypeOf(form)) return rows;
  return new Rows(rows, rows.layout, rounded(inF32(rows).data, form), form);
}

/**
 * The rows of a tensor [batch, heads, length, dim] or [batch, length, heads·dim].
 *
 * @throws RangeError for a shape that does not have `heads` heads, or whose heads do not have 1 to MAX_DIM floats;
 * `name` names the tensor in it
 */
export function rowsOf(name: string, { shape, data, form, source }: Operand, heads: number): Rows {
  if (shape.length === 4) {
    const [batch, , length, dim] = shape as [number, number, number, number];
    checkShape(name, shape, [batch, heads, length, dim]);
    checkInteger(`${name}.shape[3]`, dim, 1, MAX_DIM);
    return new Rows({ batch, heads, length, dim }, "bhld", data, form, source);
  }
  const [batch, length, width] = shape as [number, number, number];
  const dim = width / heads;
  if (!Number.isInteger(dim) || dim === 0 || dim > MAX_DIM) {
    throw wrongValue(`${name}.shape[2]`, `a multiple of ${heads} (heads), at most ${heads * MAX_DIM}`, width);
  }
  return new Rows({ batch, heads, length, dim }, "blhd", data, form, source);
}

/** The columns [start, start + width) of a matrix with rows of `rowLength` floats, copied. */
export function columns<Data extends Floats>(data: Data, rowLength: number, start: number, width: number): Data {
  const rows = rowLength === 0 ? 0 : data.length / rowLength;
  const taken = emptyLike(data, rows * width);
  for (let row = 0; row < rows; row++) {
    const first = row * rowLength + start;
    taken.set(data.subarray(first, first + width), row * width);
  }
  return taken;
}

/** A mask or bias whose rows have `length` elements: those of the given rows, then `value`. */
export function padRows<Data extends Floats | Uint8Array>(
  { data, shape, form }: Operand<Data>,
  length: number,
  value: number,
): Operand<Data> {
  const given = shape.at(-1) ?? length;
  if (given === length) return { data, shape, form };
  const rows = elementsOf(shape.slice(0, -1));
  const padding = data instanceof Uint16Array ? rounded(Float32Array.of(value), form)[0]! : value;
  const longer = emptyLike(data, rows * length).fill(padding) as Data;
  for (let row = 0; row < rows; row++) longer.set(data.subarray(row * given, (row + 1) * given), row * length);
  return { data: longer, shape: [...shape.slice(0, -1), length], form };
}

/** A bias as heed takes it. */
export function shapedFloats({ data, shape, form }: Operand): NonNullable<AttentionOptions["bias"]> {
  return form === "f32" ? { data: data as Float32Array, shape } : { ...(given(data, form) as HalfArray), shape };
}

/** The options of attention that rows do not settle. */
export type ScoreOptions = Omit<
  AttentionOptions,
  "numHeads" | "numKvHeads" | "headDim" | "valueDim" | "batch" | "layout" | "out" | "lse"
>;

/** The attribute softcap as the option; undefined for 0, and for what is 0 in f32. */
export function softcapOf(operands: Operands): number | undefined {
  const softcap = operands.magnitude("softcap", 0);
  return Math.fround(softcap) > 0 ? softcap : undefined;
}

/** Rows in a layout as heed takes them. */
const rowsIn = (rows: Rows, layout: Layout) => given(rows.dataIn(layout), rows.form);

/** Attention from q over k and v, in a form. Where all came as "blhd" nothing is copied into the other layout. */
export function attend(heed: Heed, q: Rows, k: Rows, v: Rows, options: ScoreOptions, form: FloatForm): Rows {
  const layout = [q, k, v].every((rows) => rows.layout === "blhd") ? "blhd" : "bhld";
  const { batch, heads: numHeads, length, dim: headDim } = q;
  const shape = { batch, heads: numHeads, length, dim: v.dim };
  if (q.isEmpty) return new Rows(shape, layout, zeros(0, form), form);
  const sizes = { numHeads, numKvHeads: k.heads, headDim, valueDim: v.dim, batch, layout } as const;
  // f32 is what heed makes by itself.
  const out = form === "f32" ? undefined : zeros(elementsOf(Object.values(shape)), form);
  const settled = { ...options, ...sizes, out: out && given(out, form) };
  const result = heed.attention(rowsIn(q, layout), rowsIn(k, layout), rowsIn(v, layout), settled);
  return new Rows(shape, layout, out ?? (result.out as Float32Array), form);
}

/** The scores of every query and key after `stage`, [batch, heads, q.length, k.length], in f32. */
export function scores(heed: Heed, q: Rows, k: Rows, options: ScoreOptions, stage: Stage): OnnxTensor {
  const layout = q.layout === "blhd" && k.layout === "blhd" ? "blhd" : "bhld";
  const { batch, heads: numHeads, dim: headDim } = q;
  const shape = [batch, numHeads, q.length, k.length];
  if (elementsOf(shape) === 0) return { data: new Float32Array(0), shape };
  const sizes = { numHeads, numKvHeads: k.heads, headDim, batch, layout, stage } as const;
  // The stages before the masks have a score for every key, padding included.
  const { kvLengths } = stage === "masked" || stage === "softmax" ? options : {};
  const { weights } = heed.attentionWeights(rowsIn(q, layout), rowsIn(k, layout), { ...options, ...sizes, kvLengths });
  return { data: weights, shape };
}

/** Scores as an output in a form. */
export function scoresIn(form: FloatForm, { data, shape }: OnnxTensor): OnnxTensor<unknown> {
  return tensorOf(rounded(data, form), shape, form);
}

/** Zeros of the type of `data`. */
export function emptyLike<Data extends Floats | Int8Array | Uint8Array>(data: Data, length: number): Data {
  return new (data.constructor as new (length: number) => Data)(length);
}

/** A copy of a tensor [outer, a, b, dim] as [outer, b, a, dim]. */
function swapMiddle<Data extends Floats | Int8Array>(
  data: Data,
  outer: number,
  a: number,
  b: number,
  dim: number,
): Data {
  const swapped = emptyLike(data, data.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < a; i++) {
      for (let j = 0; j < b; j++) {
        const from = ((o * a + i) * b + j) * dim;
        swapped.set(data.subarray(from, from + dim), ((o * b + j) * a + i) * dim);
      }
    }
  }
  return swapped;
}
