"use strict";
// One block: LANES rows of q, and all that is known of them while the keys go by.
//
//     ┌───────┬──────────────────────────┬──────────────────┬─────────────────────────┐
//     │ Block │ lane arrays, [LANES] each │ Qᵗ [headDim]     │ Oᵗ [valueDim, rounded up │
//     │       │ m l alpha … biasRow       │    [LANES]       │+ ROWS_OVER][LANES]        │
//     └───────┴──────────────────────────┴──────────────────┴─────────────────────────┘
//
// Rows are numbered query by query, the heads of the group within a query: row r is query r / group of head r % group. So a
// group of query heads is simply more rows over the same keys, and the rows of one block stand close together in position.
// Where rows run out, the remaining lanes repeat the last row, all of it: they compute, and store, the same values again.
var __decorate = (this && this.__decorate) || function (decorators, target, key, desc) {
    var c = arguments.length, r = c < 3 ? target : desc === null ? desc = Object.getOwnPropertyDescriptor(target, key) : desc, d;
    if (typeof Reflect === "object" && typeof Reflect.decorate === "function") r = Reflect.decorate(decorators, target, key, desc);
    else for (var i = decorators.length - 1; i >= 0; i--) if (d = decorators[i]) r = (c < 3 ? d(r) : c > 3 ? d(target, key, r) : d(target, key)) || r;
    return c > 3 && r && Object.defineProperty(target, key, r), r;
};
Object.defineProperty(exports, "__esModule", { value: true });
exports.BIAS_ROW = exports.MASK_ROW = exports.Q_ROW = exports.LSE_ROW = exports.OUT_ROW = exports.SINK = exports.SLOPE = exports.POSITION = exports.TO = exports.FROM = exports.ALPHA = exports.L = exports.M = exports.Block = void 0;
exports.lanes = lanes;
exports.queries = queries;
exports.output = output;
exports.blockBytes = blockBytes;
exports.openBlock = openBlock;
exports.clearBlock = clearBlock;
exports.closeBlock = closeBlock;
const lanes_1 = require("./lanes");
const exp_1 = require("./exp");
const tile_1 = require("./tile");
let Block = class Block {
    /** Keys that some row sees by position: [first, end). */
    first;
    end;
    /** Keys that every row sees by position: [commonFirst, commonEnd). */
    commonFirst;
    commonEnd;
    /** Vectors of lanes that hold rows of their own; the rest only repeat the last row. */
    vectors;
    /** Whether a row has met a key that is masked for it, so that 0·v stood for "not read". */
    masked;
};
exports.Block = Block;
exports.Block = Block = __decorate([
    unmanaged
], Block);
// Lane arrays, in the order in which they stand.
/** f32: running maximum of the scores, at least −FLT_MAX. */
// @ts-ignore: decorator
exports.M = 0;
/** f32: running Σ exp(score − m). */
// @ts-ignore: decorator
exports.L = 1;
/** f32: what the last step multiplies O and l by. */
// @ts-ignore: decorator
exports.ALPHA = 2;
/** i32: the keys that a row sees by position, [FROM, TO). */
// @ts-ignore: decorator
exports.FROM = 3;
// @ts-ignore: decorator
exports.TO = 4;
/** i32: i + queryOffset. */
// @ts-ignore: decorator
exports.POSITION = 5;
/** f32: ALiBi slope. */
// @ts-ignore: decorator
exports.SLOPE = 6;
/** f32: attention sink. */
// @ts-ignore: decorator
exports.SINK = 7;
/** Pointers to a row's first float, or byte. */
// @ts-ignore: decorator
exports.OUT_ROW = 8;
// @ts-ignore: decorator
exports.LSE_ROW = 9;
// @ts-ignore: decorator
exports.Q_ROW = 10;
// @ts-ignore: decorator
exports.MASK_ROW = 11;
// @ts-ignore: decorator
exports.BIAS_ROW = 12;
// @ts-ignore: decorator
const LANE_ARRAYS = 13;
// @ts-ignore: decorator
const HEADER_BYTES = 32;
/** The lane array `which` of a block. */
// @ts-ignore: decorator
function lanes(block, which) {
    return changetype(block) + HEADER_BYTES + which * lanes_1.LANE_BYTES;
}
/** Qᵗ [headDim][LANES] of a block. */
// @ts-ignore: decorator
function queries(block) {
    return lanes(block, LANE_ARRAYS);
}
/** Oᵗ [valueDim, rounded up][LANES] of a block. */
// @ts-ignore: decorator
function output(block, headDim) {
    return queries(block) + headDim * lanes_1.LANE_BYTES;
}
function blockBytes(headDim, valueDim) {
    return HEADER_BYTES + (LANE_ARRAYS + headDim + valueDim + tile_1.ROWS_OVER) * lanes_1.LANE_BYTES;
}
// @ts-ignore: decorator
function pointerAt(array, lane) {
    return load(array + (lane << 2));
}
/** Opens a block at row `firstRow`: writes its lane arrays, packs its queries, clears m, l and O. */
function openBlock(block, head, firstRow) {
    const lastRow = head.seqLenQ * head.group - 1;
    block.vectors = (min(lanes_1.LANES, lastRow + 1 - firstRow) + 3) >> 2;
    block.first = i32.MAX_VALUE;
    block.end = 0;
    block.commonFirst = 0;
    block.commonEnd = i32.MAX_VALUE;
    for (let lane = 0; lane < lanes_1.LANES; lane++) {
        const row = min(firstRow + lane, lastRow);
        const i = row / head.group;
        const g = row % head.group;
        const position = i + head.queryOffset;
        const from = max(position - head.left, 0);
        const to = min(position + head.right + 1, head.seqLenKv);
        if (from < to) {
            block.first = min(block.first, from);
            block.end = max(block.end, to);
        }
        block.commonFirst = max(block.commonFirst, from);
        block.commonEnd = min(block.commonEnd, to);
        const at = lanes(block, 0) + (lane << 2);
        store(at + exports.FROM * lanes_1.LANE_BYTES, from);
        store(at + exports.TO * lanes_1.LANE_BYTES, to);
        store(at + exports.POSITION * lanes_1.LANE_BYTES, position);
        if (head.alibiSlopes)
            store(at + exports.SLOPE * lanes_1.LANE_BYTES, load(head.alibiSlopes + (g << 2)));
        if (head.sinks)
            store(at + exports.SINK * lanes_1.LANE_BYTES, load(head.sinks + (g << 2)));
        store(at + exports.OUT_ROW * lanes_1.LANE_BYTES, head.out + i * head.outRow + g * head.outHead);
        store(at + exports.LSE_ROW * lanes_1.LANE_BYTES, head.lse + (i << 2) + g * head.lseHead);
        store(at + exports.Q_ROW * lanes_1.LANE_BYTES, head.q + i * head.qRow + g * head.qHead);
        store(at + exports.MASK_ROW * lanes_1.LANE_BYTES, head.keepMask + i * head.maskRow + g * head.maskHead);
        store(at + exports.BIAS_ROW * lanes_1.LANE_BYTES, head.bias + i * head.biasRow + g * head.biasHead);
    }
    clearBlock(block, head);
    packQueries(block, head);
}
/** m = −FLT_MAX, l = 0, O = 0: nothing seen yet. */
function clearBlock(block, head) {
    block.masked = 0;
    const zero = f32x4.splat(0);
    for (let vector = 0; vector < lanes_1.VECTORS; vector++) {
        const at = vector << 4;
        v128.store(lanes(block, exports.M) + at, f32x4.splat(-f32.MAX_VALUE));
        v128.store(lanes(block, exports.L) + at, zero);
    }
    const o = output(block, head.headDim);
    const end = o + head.valueDim * lanes_1.LANE_BYTES;
    for (let at = o; at < end; at += 16)
        v128.store(at, zero);
}
/** Qᵗ[d][lane] = q[lane][d] · queryScale */
function packQueries(block, head) {
    const headDim = head.headDim;
    const rows = lanes(block, exports.Q_ROW);
    const scale = f32x4.splat(head.queryScale);
    for (let lane = 0; lane < lanes_1.LANES; lane += 4) {
        const r0 = pointerAt(rows, lane);
        const r1 = pointerAt(rows, lane + 1);
        const r2 = pointerAt(rows, lane + 2);
        const r3 = pointerAt(rows, lane + 3);
        let column = queries(block) + (lane << 2);
        let d = 0;
        for (; d + 4 <= headDim; d += 4) {
            const at = d << 2;
            (0, lanes_1.storeTransposed)(column, column + lanes_1.LANE_BYTES, column + 2 * lanes_1.LANE_BYTES, column + 3 * lanes_1.LANE_BYTES, f32x4.mul(v128.load(r0 + at), scale), f32x4.mul(v128.load(r1 + at), scale), f32x4.mul(v128.load(r2 + at), scale), f32x4.mul(v128.load(r3 + at), scale));
            column += 4 * lanes_1.LANE_BYTES;
        }
        for (; d < headDim; d++) {
            const at = d << 2;
            store(column, load(r0 + at) * head.queryScale, 0);
            store(column, load(r1 + at) * head.queryScale, 4);
            store(column, load(r2 + at) * head.queryScale, 8);
            store(column, load(r3 + at) * head.queryScale, 12);
            column += lanes_1.LANE_BYTES;
        }
    }
}
/**
 * Closes a block: folds in the sinks, writes out and lse.
 *
 *     M = max(m, sink)    l = l·exp(m − M) + exp(sink − M)    out = O·exp(m − M)/l    lse = M + ln l
 *
 * `unit` is what one unit of m is worth as a score. A row that saw no key has l = 0 and O = 0: out 0, lse −Infinity.
 */
function closeBlock(block, head, unit) {
    const natural = f32x4.splat(unit);
    const lowest = f32x4.splat(-f32.MAX_VALUE);
    const zero = f32x4.splat(0);
    for (let vector = 0; vector < block.vectors; vector++) {
        const at = vector << 4;
        const m = (0, lanes_1.larger)(f32x4.mul(v128.load(lanes(block, exports.M) + at), natural), lowest);
        let l = v128.load(lanes(block, exports.L) + at);
        let shrink = f32x4.splat(1);
        if (head.sinks) {
            const sink = v128.load(lanes(block, exports.SINK) + at);
            const top = (0, lanes_1.larger)(m, sink);
            shrink = (0, exp_1.exp)(f32x4.sub(m, top), head.constants);
            l = f32x4.add(f32x4.mul(l, shrink), (0, exp_1.exp)(f32x4.sub(sink, top), head.constants));
            v128.store(lanes(block, exports.M) + at, top);
        }
        else {
            v128.store(lanes(block, exports.M) + at, m);
        }
        v128.store(lanes(block, exports.L) + at, l);
        v128.store(lanes(block, exports.ALPHA) + at, v128.andnot(f32x4.div(shrink, l), f32x4.eq(l, zero)));
    }
    if (head.lse) {
        for (let lane = 0; lane < block.vectors << 2; lane++) {
            const at = lane << 2;
            const lse = load(lanes(block, exports.M) + at) + (0, exp_1.log)(load(lanes(block, exports.L) + at));
            store(pointerAt(lanes(block, exports.LSE_ROW), lane), lse);
        }
    }
    unpackOutput(block, head);
}
/** out[lane][column] = Oᵗ[column][lane] · ALPHA[lane] */
function unpackOutput(block, head) {
    const valueDim = head.valueDim;
    const rows = lanes(block, exports.OUT_ROW);
    for (let lane = 0; lane < block.vectors << 2; lane += 4) {
        const factors = lanes(block, exports.ALPHA) + (lane << 2);
        const factor = v128.load(factors);
        const r0 = pointerAt(rows, lane);
        const r1 = pointerAt(rows, lane + 1);
        const r2 = pointerAt(rows, lane + 2);
        const r3 = pointerAt(rows, lane + 3);
        let o = output(block, head.headDim) + (lane << 2);
        let column = 0;
        for (; column + 4 <= valueDim; column += 4) {
            const at = column << 2;
            (0, lanes_1.storeTransposed)(r0 + at, r1 + at, r2 + at, r3 + at, f32x4.mul(v128.load(o), factor), f32x4.mul(v128.load(o + lanes_1.LANE_BYTES), factor), f32x4.mul(v128.load(o + 2 * lanes_1.LANE_BYTES), factor), f32x4.mul(v128.load(o + 3 * lanes_1.LANE_BYTES), factor));
            o += 4 * lanes_1.LANE_BYTES;
        }
        for (; column < valueDim; column++) {
            const at = column << 2;
            const x = f32x4.mul(v128.load(o), factor);
            store(r0 + at, f32x4.extract_lane(x, 0));
            store(r1 + at, f32x4.extract_lane(x, 1));
            store(r2 + at, f32x4.extract_lane(x, 2));
            store(r3 + at, f32x4.extract_lane(x, 3));
            o += lanes_1.LANE_BYTES;
        }
    }
}
