import type { Arena } from "./arena.ts";
import type { CallScope } from "./call-scope.ts";
import { type Floats, elementsOf } from "./data.ts";
import { F32, bytesOf } from "./float-types.ts";
import { type Layout, stridesOf } from "./layout.ts";
import { viewAt } from "./tensor.ts";

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
  /** Makes f32 of rows of 16 bits, in the stage: engine/widen.ts. Default: they stay as they are. */
  readonly widen?: (ptr: number, length: number, type: number) => void;
}

/** `count` rows of batch entry `batch` from row `first` on; they stay as they are until the next call. */
export type TakeRows = (batch: number, first: number, count: number) => RowsInMemory;

/**
 * Brings rows of k or v, of all heads, to where the kernels can read them, a stretch of rows at a time. Rows in linear
 * memory are read in place. Rows of an array are copied to a stage in the same layout, which the scope holds and the
 * next stretch overwrites.
 */
export function stageRows(arena: Arena, scope: CallScope, floats: Floats, shape: StagedShape): TakeRows {
  const { layout, rows, heads, dim, maxRows, alwaysCopy } = shape;
  const { type } = floats;
  const bytes = bytesOf(type);
  const widen = type === F32 ? undefined : shape.widen;
  const stageBytes = maxRows * heads * dim * bytes;
  /** The address of the stage; 0 where nothing is copied. */
  const stage =
    floats.array || alwaysCopy || widen ? scope.reserve(widen ? widenedBytes(stageBytes / bytes) : stageBytes) : 0;
  // A row of "blhd" holds every head. In "bhld" the rows of each head are a block of their own.
  const [blocks, width] = layout === "blhd" ? [1, heads * dim] : [heads, dim];
  return (batch, first, count) => {
    const strides = stridesOf(layout, stage ? count : rows, heads, dim, widen ? 4 : bytes);
    if (stage) {
      const array = elementsOf(arena, floats);
      const length = count * heads * dim;
      const staged = viewAt(arena, widen ? halvesIn(stage, length) : stage, length, type);
      for (let block = 0; block < blocks; block++) {
        const start = ((batch * blocks + block) * rows + first) * width;
        staged.set(array.subarray(start, start + count * width), block * count * width);
      }
      widen?.(stage, length, type);
    }
    const ptr = stage || floats.ptr! + batch * strides.batch + first * strides.row;
    return { ptr, rowStride: strides.row, headStride: strides.head, heads, dim };
  };
}

// 16 bits become f32 in place: they stand in the second half of what they become, and the kernel goes forward.

/** Bytes that `length` floats of 16 bits take before and while they become f32. */
export function widenedBytes(length: number): number {
  return Math.ceil(length / 4) * 16;
}

/** Where `length` floats of 16 bits stand before they become f32 at `ptr`. */
export function halvesIn(ptr: number, length: number): number {
  return ptr + widenedBytes(length) / 2;
}
