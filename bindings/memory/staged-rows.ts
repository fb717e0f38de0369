import type { Arena } from "./arena.ts";
import type { CallScope } from "./call-scope.ts";
import { type Floats, floatsOf } from "./data.ts";
import { type Layout, stridesOf } from "./layout.ts";

/** Rows of k or v in linear memory: row i of head h is at ptr + i·rowStride + h·headStride, in bytes. */
export interface RowsInMemory {
  readonly ptr: number;
  readonly rowStride: number;
  readonly headStride: number;
  readonly heads: number;
  /** Floats in a row. */
  readonly dim: number;
}

/** The shape of k or v, [batch, rows, heads, dim] or as `layout` says, and how its rows are read. */
export interface StagedShape {
  readonly layout: Layout;
  /** Rows in one batch entry. */
  readonly rows: number;
  readonly heads: number;
  readonly dim: number;
  /** The most rows that are taken at once. */
  readonly maxRows: number;
  /** Copies even what is in linear memory already, because the caller will write to the rows. Default false. */
  readonly alwaysCopy?: boolean;
}

/**
 * Brings rows of k or v, of all heads, to where the kernels can read them, a stretch of rows at a time. Rows in linear
 * memory are read in place. Rows of an array are copied to a stage, which the scope holds and the next stretch
 * overwrites.
 */
export class StagedRows {
  readonly #arena: Arena;
  readonly #floats: Floats;
  readonly #shape: StagedShape;
  /** The address of the stage; 0 where nothing is copied. */
  readonly #stage: number;

  constructor(arena: Arena, scope: CallScope, floats: Floats, shape: StagedShape) {
    const { maxRows, heads, dim, alwaysCopy } = shape;
    this.#arena = arena;
    this.#floats = floats;
    this.#shape = shape;
    this.#stage = floats.array || alwaysCopy ? scope.reserve(maxRows * heads * dim * 4) : 0;
  }

  /** The most rows that `take` takes. */
  get maxRows(): number {
    return this.#shape.maxRows;
  }

  /** `count` rows of batch entry `batch` from row `first` on; they stay as they are until the next `take`. */
  take(batch: number, first: number, count: number): RowsInMemory {
    const { layout, rows, heads, dim } = this.#shape;
    const strides = stridesOf(layout, this.#stage ? count : rows, heads, dim);
    const ptr = this.#stage || this.#floats.ptr! + batch * strides.batch + first * strides.row;
    if (this.#stage) this.#copy(batch, first, count);
    return { ptr, rowStride: strides.row, headStride: strides.head, heads, dim };
  }

  /** Copies rows to the stage, in the same layout. */
  #copy(batch: number, first: number, count: number): void {
    const { layout, rows, heads, dim } = this.#shape;
    const array = floatsOf(this.#arena, this.#floats);
    const stage = new Float32Array(this.#arena.buffer, this.#stage, count * heads * dim);
    // A row of "blhd" holds every head. In "bhld" the rows of each head are a block of their own.
    const [blocks, width] = layout === "blhd" ? [1, heads * dim] : [heads, dim];
    for (let block = 0; block < blocks; block++) {
      const start = ((batch * blocks + block) * rows + first) * width;
      stage.set(array.subarray(start, start + count * width), block * count * width);
    }
  }
}
