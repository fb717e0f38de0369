// A query tile: LANES query rows, and all that is known of them while the keys go by.
//
//     ┌───────────┬───────────────────────────┬──────────────┬──────────────────────┬────────────────────┐
//     │ QueryTile │ lane arrays, [LANES] each │ Qᵗ [headDim] │ Oᵗ [valueDim +       │ totals, of f64     │
//     │ 64 bytes  │ m l alpha … biasRow       │    [LANES]   │    ROWS_OVER][LANES] │ [valueDim][LANES]  │
//     └───────────┴───────────────────────────┴──────────────┴──────────────────────┴────────────────────┘
//
// The query rows of a KV head are numbered query by query, the heads of the group within a query: row r is query r /
// group of head kvHead·group + r % group. So a group of query heads is more rows over the same keys, and the rows of
// one tile stand close together in position. Where rows run out, the remaining lanes repeat the last row: they compute,
// and store, the same values again.

import { AttendArgs } from "../args";
import { convertHalves, storeHalves } from "../kv/half";
import { isHalves } from "../kv/rows";
import { LANES, LANE_BYTES, packRows, storeTransposed, vectorBytes } from "../simd/lanes";
import { ROWS_OVER } from "../simd/gemm";


@unmanaged
export class QueryTile {
  /** The KV head that the rows read. */
  kvHead: i32;
  /** Keys that some row sees by position: [first, end). */
  first: i32;
  end: i32;
  /** Keys that every row sees by position: [commonFirst, commonEnd). */
  commonFirst: i32;
  commonEnd: i32;
  /** Lanes that hold a row of their own; the others repeat the last row. */
  rows: i32;
  /** Vectors with such lanes. */
  vectors: i32;
  /** Blocks of keys that have gone into O; before the first one O is undefined. */
  steps: i32;
  /** The span of the keys in O, and whether any before it are in the totals (totals.ts). */
  span: i32;
  hasTotals: i32;
  /** Where O stands, its bytes, and its totals. */
  o: usize;
  oBytes: usize;
  totals: usize;
  /** Whether a row has met a key that is masked for it, so that 0·v stood for "not read" (prefill/nonfinite.ts). */
  masked: i32;
  /** Whether out and lse are written. */
  closed: i32;
  /** Lanes, as bits, whose out and lse are written already. */
  written: i32;
}

// Lane arrays, in the order in which they stand.
/** f32: running maximum of the scores, at least −FLT_MAX. */
// @ts-ignore: decorator
@inline export const M: usize = 0;
/** f64, so the room of two: running Σ exp(score − m). */
// @ts-ignore: decorator
@inline export const L: usize = 1;
/** f32: what the latest kv tile multiplies O and l by. */
// @ts-ignore: decorator
@inline export const ALPHA: usize = 3;
/** i32: the keys that a row sees by position, [FROM, TO). */
// @ts-ignore: decorator
@inline export const FROM: usize = 4;
// @ts-ignore: decorator
@inline export const TO: usize = 5;
/** i32: i + queryOffset. */
// @ts-ignore: decorator
@inline export const POSITION: usize = 6;
/** f32: ALiBi slope. */
// @ts-ignore: decorator
@inline export const SLOPE: usize = 7;
/** f32: attention sink. */
// @ts-ignore: decorator
@inline export const SINK: usize = 8;
/** Pointers to a row's first float, or byte; of no meaning where the call has no such array. */
// @ts-ignore: decorator
@inline export const OUT_ROW: usize = 9;
// @ts-ignore: decorator
@inline export const LSE_ROW: usize = 10;
// @ts-ignore: decorator
@inline export const Q_ROW: usize = 11;
// @ts-ignore: decorator
@inline export const MASK_ROW: usize = 12;
// @ts-ignore: decorator
@inline export const BIAS_ROW: usize = 13;
/** f32, with half precision: what one unit of Qᵗ is worth, and of P in each block of a kv tile. */
// @ts-ignore: decorator
@inline export const Q_SCALE: usize = 14;
// @ts-ignore: decorator
@inline export const P_SCALES: usize = 15;
// @ts-ignore: decorator
@inline const LANE_ARRAYS: usize = 17;
// @ts-ignore: decorator
@inline const HEADER_BYTES: usize = 64;

/** The lane array `which` of a tile. */
// @ts-ignore: decorator
@inline export function lanes(tile: QueryTile, which: usize): usize {
  return changetype<usize>(tile) + HEADER_BYTES + which * LANE_BYTES;
}

/** Qᵗ [headDim][LANES] of a tile. */
// @ts-ignore: decorator
@inline export function queries(tile: QueryTile): usize {
  return lanes(tile, LANE_ARRAYS);
}

/** l of the row in `lane`. */
// @ts-ignore: decorator
@inline export function sumOf(tile: QueryTile, lane: i32): f64 {
  return load<f64>(lanes(tile, L) + ((<usize>lane) << 3));
}

/** Bytes of a query tile. */
export function queryTileBytes(headDim: i32, valueDim: i32): u64 {
  const columns = <u64>LANE_ARRAYS + <u64>headDim + ROWS_OVER + 3 * <u64>valueDim;
  return <u64>HEADER_BYTES + columns * <u64>LANE_BYTES;
}

/** The query rows that share one KV head. */
// @ts-ignore: decorator
@inline export function rowsPerKvHead(args: AttendArgs): i32 {
  return args.seqLenQ * args.group;
}

// @ts-ignore: decorator
@inline export function pointerAt(array: usize, lane: i32): usize {
  return load<usize>(array + ((<usize>lane) << 2));
}

/**
 * Opens a tile at row `firstRow` of a KV head: writes its lane arrays, packs its queries, forgets every key. `written`
 * is as for openLanes. `scratch` has LANES rows of headDim floats, in whole vectors.
 */
export function openTile(
  tile: QueryTile,
  args: AttendArgs,
  kvHead: i32,
  firstRow: i32,
  written: i32,
  scratch: usize,
): void {
  openLanes(tile, args, kvHead, firstRow, written);
  tile.o = queries(tile) + <usize>args.headDim * LANE_BYTES;
  tile.oBytes = <usize>args.valueDim * LANE_BYTES;
  tile.totals = tile.o + tile.oBytes + <usize>ROWS_OVER * LANE_BYTES;
  packQueries(tile, args, scratch);
}

/**
 * The lane arrays alone, from row `firstRow` of a KV head on. `written` has the lanes, as bits, whose rows are not
 * wanted: these lanes repeat the first row that is.
 */
export function openLanes(tile: QueryTile, args: AttendArgs, kvHead: i32, firstRow: i32, written: i32): void {
  const lastRow = rowsPerKvHead(args) - 1;
  tile.kvHead = kvHead;
  tile.rows = min(LANES, lastRow + 1 - firstRow);
  tile.vectors = (tile.rows + 3) >> 2;
  tile.first = i32.MAX_VALUE;
  tile.end = 0;
  tile.commonFirst = 0;
  tile.commonEnd = i32.MAX_VALUE;
  tile.closed = 0;
  tile.written = written;
  let i = firstRow / args.group;
  let g = firstRow % args.group;
  const wanted = firstRow + ctz(~written);
  const wantedI = written ? wanted / args.group : i;
  const wantedG = written ? wanted % args.group : g;
  for (let lane = 0; lane < LANES; lane++) {
    const skips = (written >> lane) & 1;
    openLane(tile, args, lane, skips ? wantedI : i, kvHead * args.group + (skips ? wantedG : g));
    if (firstRow + lane >= lastRow) continue;
    if (++g == args.group) {
      g = 0;
      i++;
    }
  }
  forgetKeys(tile);
}

/** Writes what is known of query i of query head h to a lane. */
// @ts-ignore: decorator
@inline function openLane(tile: QueryTile, args: AttendArgs, lane: i32, i: i32, h: i32): void {
  const position = i + args.queryOffset;
  const from = <i32>max<i64>(<i64>position - args.left, args.firstKey);
  const to = <i32>min<i64>(<i64>position + args.right + 1, args.seqLenKv);
  if (from < to) {
    tile.first = min(tile.first, from);
    tile.end = max(tile.end, to);
  }
  tile.commonFirst = max(tile.commonFirst, from);
  tile.commonEnd = min(tile.commonEnd, to);

  const row = <usize>i;
  const head = <usize>h;
  const slot = lanes(tile, 0) + ((<usize>lane) << 2);
  store<i32>(slot + FROM * LANE_BYTES, from);
  store<i32>(slot + TO * LANE_BYTES, to);
  store<i32>(slot + POSITION * LANE_BYTES, position);
  if (args.alibiSlopes) store<f32>(slot + SLOPE * LANE_BYTES, load<f32>(args.alibiSlopes + (head << 2)));
  if (args.sinks) store<f32>(slot + SINK * LANE_BYTES, load<f32>(args.sinks + (head << 2)));
  store<usize>(slot + OUT_ROW * LANE_BYTES, args.out + row * args.outRowStride + head * args.outHeadStride);
  store<usize>(slot + LSE_ROW * LANE_BYTES, args.lse + (row << 2) + head * args.lseHeadStride);
  store<usize>(slot + Q_ROW * LANE_BYTES, args.q + row * args.qRowStride + head * args.qHeadStride);
  const mask = args.keepMask + row * args.maskRowStride + head * args.maskHeadStride;
  store<usize>(slot + MASK_ROW * LANE_BYTES, mask);
  const bias = args.bias + row * args.biasRowStride + head * args.biasHeadStride;
  store<usize>(slot + BIAS_ROW * LANE_BYTES, bias);
}

/** No key has been seen: m = −FLT_MAX, l = 0. */
export function forgetKeys(tile: QueryTile): void {
  tile.masked = 0;
  tile.steps = 0;
  tile.span = 0;
  tile.hasTotals = 0;
  memory.fill(lanes(tile, L), 0, 2 * LANE_BYTES);
  for (let offset: usize = 0; offset < LANE_BYTES; offset += 16) {
    v128.store(lanes(tile, M) + offset, f32x4.splat(-f32.MAX_VALUE));
  }
}

/** O = 0 */
export function clearOutput(tile: QueryTile, args: AttendArgs): void {
  memory.fill(tile.o, 0, <usize>args.valueDim * LANE_BYTES);
}

/** Qᵗ[d][lane] = q[lane][d] · queryScale */
function packQueries(tile: QueryTile, args: AttendArgs, scratch: usize): void {
  const headDim = args.headDim;
  const rows = lanes(tile, Q_ROW);
  if (isHalves(args.qType)) {
    for (let row = rows; row != rows + LANE_BYTES; row += 4) {
      convertHalves(scratch, load<usize>(row), headDim, args.qType);
      store<usize>(row, scratch);
      scratch += vectorBytes(headDim);
    }
  }
  for (let lane = 0; lane < LANES; lane += 4) {
    packRows(
      queries(tile) + ((<usize>lane) << 2),
      pointerAt(rows, lane),
      pointerAt(rows, lane + 1),
      pointerAt(rows, lane + 2),
      pointerAt(rows, lane + 3),
      headDim,
      args.queryScale,
    );
  }
}

/** out = O, in 16 bits by way of `scratch`: LANES rows of whole eights of floats. Q_ROW is lost. */
export function unpackHalves(tile: QueryTile, args: AttendArgs, scratch: usize): void {
  const to = lanes(tile, Q_ROW);
  const from = lanes(tile, OUT_ROW);
  memory.copy(to, from, LANE_BYTES);
  for (let offset: usize = 0; offset < LANE_BYTES; offset += 4) {
    store<usize>(from + offset, scratch);
    scratch += (<usize>(args.valueDim + 7)) << 2;
  }
  unpackOutput(tile, args);
  for (let lane = 0; lane < tile.rows; lane++) {
    storeHalves(pointerAt(to, lane), pointerAt(from, lane), args.valueDim, args.outType);
  }
}

/** out[lane][column] = Oᵗ[column][lane] · ALPHA[lane] */
export function unpackOutput(tile: QueryTile, args: AttendArgs): void {
  const valueDim = args.valueDim;
  const rows = lanes(tile, OUT_ROW);
  for (let lane = 0; lane < tile.vectors << 2; lane += 4) {
    const factors = lanes(tile, ALPHA) + ((<usize>lane) << 2);
    const factor = v128.load(factors);
    const r0 = pointerAt(rows, lane);
    const r1 = pointerAt(rows, lane + 1);
    const r2 = pointerAt(rows, lane + 2);
    const r3 = pointerAt(rows, lane + 3);
    let o = tile.o + ((<usize>lane) << 2);
    let column = 0;
    for (; column + 4 <= valueDim; column += 4) {
      const offset = (<usize>column) << 2;
      storeTransposed(
        r0 + offset,
        r1 + offset,
        r2 + offset,
        r3 + offset,
        f32x4.mul(v128.load(o), factor),
        f32x4.mul(v128.load(o + LANE_BYTES), factor),
        f32x4.mul(v128.load(o + 2 * LANE_BYTES), factor),
        f32x4.mul(v128.load(o + 3 * LANE_BYTES), factor),
      );
      o += 4 * LANE_BYTES;
    }
    for (; column < valueDim; column++) {
      const offset = (<usize>column) << 2;
      const x = f32x4.mul(v128.load(o), factor);
      v128.store_lane<f32>(r0 + offset, x, 0);
      v128.store_lane<f32>(r1 + offset, x, 1);
      v128.store_lane<f32>(r2 + offset, x, 2);
      v128.store_lane<f32>(r3 + offset, x, 3);
      o += LANE_BYTES;
    }
  }
}
