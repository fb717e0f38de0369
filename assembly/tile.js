"use strict";
// The register tile: both matrix products of attention, S = K·Qᵗ and Oᵗ = Oᵗ + Vᵗ·P, are this one function.
//
//     C[i][LANES] (+)= Σ_t A[i][t] · B[t][LANES]
//
//                      A                     B            C             A[i][t] at
//     scores           K  [key][d]           Qᵗ [d]       S  [key]      k + key·kRow + d·4
//     weighted sum     Vᵗ [column][key]      P  [key]     Oᵗ [column]   v + key·vRow + column·4
//
//                       B[t]  ┌────────┬────────┐ ← LANES query rows, one vector a box
//             ┌───┐           └────────┴────────┘
//     A[0][t] │ • │ splat →   ┌────────┬────────┐
//     A[1][t] │ • │ splat →   │        │        │   the accumulators of one tile stay in registers while t runs
//       ⋮     │ ⋮ │           │   C    │        │
//     A[5][t] │ • │ splat →   └────────┴────────┘
//             └───┘
//
// K and V are read in place, one float at a time with v128.load32_splat, so they need no packing and no copy. V8 does not fold
// an offset into that load: one pointer a row, advanced by the stride, costs less than one pointer and six offsets. One
// reduction step a loop iteration, because Binaryen sinks loads and reorders a longer body into spills; V8 unrolls by itself.
Object.defineProperty(exports, "__esModule", { value: true });
exports.ROW_MULTIPLE = void 0;
exports.multiply = multiply;
const lanes_1 = require("./lanes");
/** C has room for a multiple of this many rows. */
// @ts-ignore: decorator
exports.ROW_MULTIPLE = 6;
/**
 * C[i][LANES] = (accumulate ? C : 0) + Σ_t A[i][t] · B[t][LANES] for i < rows, t < count.
 *
 *   c          [rows rounded up to ROW_MULTIPLE][LANES]; the rows past `rows` are scratch
 *   a          A[i][t] at a + i·aRow + t·aStep; nothing past A[rows − 1] is read
 *   b          [count][LANES]
 *   vectors    1 … VECTORS; with 1 only the first vector of each row of C is sure to be written
 *   aRow aStep bytes
 */
function multiply(c, a, b, rows, count, vectors, aRow, aStep, accumulate) {
    assert(rows > 0 && count > 0 && vectors > 0 && vectors <= lanes_1.VECTORS, "nothing to multiply");
    if (vectors == 1) {
        const done = (rows / 12) * 12;
        multiply12x1(c, a, b, done, count, aRow, aStep, accumulate);
        c += done * lanes_1.LANE_BYTES;
        a += done * aRow;
        rows -= done;
    }
    if (ASC_FEATURE_RELAXED_SIMD)
        multiply6x2(c, a, b, rows, count, aRow, aStep, accumulate);
    else
        multiply3x3(c, a, b, rows, count, aRow, aStep, accumulate);
}
/** 12 accumulators, 2 vectors of B, 1 splat: 15 registers, with the product fused away. */
// @ts-ignore: decorator
function multiply6x2(c, a, b, rows, count, aRow, aStep, accumulate) {
    const bEnd = b + count * lanes_1.LANE_BYTES;
    // The last tile repeats the last row where rows run out: its results there land in the scratch rows of C.
    for (let left = rows; left > 0; left -= 6) {
        const a0 = a;
        const a1 = left > 1 ? a0 + aRow : a0;
        const a2 = left > 2 ? a1 + aRow : a1;
        const a3 = left > 3 ? a2 + aRow : a2;
        const a4 = left > 4 ? a3 + aRow : a3;
        const a5 = left > 5 ? a4 + aRow : a4;
        a = a5 + aRow;
        let c00 = f32x4.splat(0), c01 = c00;
        let c10 = c00, c11 = c00;
        let c20 = c00, c21 = c00;
        let c30 = c00, c31 = c00;
        let c40 = c00, c41 = c00;
        let c50 = c00, c51 = c00;
        if (accumulate) {
            c00 = v128.load(c, 0);
            c01 = v128.load(c, 16);
            c10 = v128.load(c, 32);
            c11 = v128.load(c, 48);
            c20 = v128.load(c, 64);
            c21 = v128.load(c, 80);
            c30 = v128.load(c, 96);
            c31 = v128.load(c, 112);
            c40 = v128.load(c, 128);
            c41 = v128.load(c, 144);
            c50 = v128.load(c, 160);
            c51 = v128.load(c, 176);
        }
        for (let bt = b, at = 0; bt < bEnd; bt += lanes_1.LANE_BYTES, at += aStep) {
            const b0 = v128.load(bt, 0);
            const b1 = v128.load(bt, 16);
            let x = v128.load32_splat(a0 + at);
            c00 = (0, lanes_1.madd)(x, b0, c00);
            c01 = (0, lanes_1.madd)(x, b1, c01);
            x = v128.load32_splat(a1 + at);
            c10 = (0, lanes_1.madd)(x, b0, c10);
            c11 = (0, lanes_1.madd)(x, b1, c11);
            x = v128.load32_splat(a2 + at);
            c20 = (0, lanes_1.madd)(x, b0, c20);
            c21 = (0, lanes_1.madd)(x, b1, c21);
            x = v128.load32_splat(a3 + at);
            c30 = (0, lanes_1.madd)(x, b0, c30);
            c31 = (0, lanes_1.madd)(x, b1, c31);
            x = v128.load32_splat(a4 + at);
            c40 = (0, lanes_1.madd)(x, b0, c40);
            c41 = (0, lanes_1.madd)(x, b1, c41);
            x = v128.load32_splat(a5 + at);
            c50 = (0, lanes_1.madd)(x, b0, c50);
            c51 = (0, lanes_1.madd)(x, b1, c51);
        }
        v128.store(c, c00, 0);
        v128.store(c, c01, 16);
        v128.store(c, c10, 32);
        v128.store(c, c11, 48);
        v128.store(c, c20, 64);
        v128.store(c, c21, 80);
        v128.store(c, c30, 96);
        v128.store(c, c31, 112);
        v128.store(c, c40, 128);
        v128.store(c, c41, 144);
        v128.store(c, c50, 160);
        v128.store(c, c51, 176);
        c += 6 * lanes_1.LANE_BYTES;
    }
}
/** 9 accumulators, 3 vectors of B, 1 splat, 1 product: 14 registers. */
// @ts-ignore: decorator
function multiply3x3(c, a, b, rows, count, aRow, aStep, accumulate) {
    const bEnd = b + count * lanes_1.LANE_BYTES;
    for (let left = rows; left > 0; left -= 3) {
        const a0 = a;
        const a1 = left > 1 ? a0 + aRow : a0;
        const a2 = left > 2 ? a1 + aRow : a1;
        a = a2 + aRow;
        let c00 = f32x4.splat(0), c01 = c00, c02 = c00;
        let c10 = c00, c11 = c00, c12 = c00;
        let c20 = c00, c21 = c00, c22 = c00;
        if (accumulate) {
            c00 = v128.load(c, 0);
            c01 = v128.load(c, 16);
            c02 = v128.load(c, 32);
            c10 = v128.load(c, 48);
            c11 = v128.load(c, 64);
            c12 = v128.load(c, 80);
            c20 = v128.load(c, 96);
            c21 = v128.load(c, 112);
            c22 = v128.load(c, 128);
        }
        for (let bt = b, at = 0; bt < bEnd; bt += lanes_1.LANE_BYTES, at += aStep) {
            const b0 = v128.load(bt, 0);
            const b1 = v128.load(bt, 16);
            const b2 = v128.load(bt, 32);
            let x = v128.load32_splat(a0 + at);
            c00 = (0, lanes_1.madd)(x, b0, c00);
            c01 = (0, lanes_1.madd)(x, b1, c01);
            c02 = (0, lanes_1.madd)(x, b2, c02);
            x = v128.load32_splat(a1 + at);
            c10 = (0, lanes_1.madd)(x, b0, c10);
            c11 = (0, lanes_1.madd)(x, b1, c11);
            c12 = (0, lanes_1.madd)(x, b2, c12);
            x = v128.load32_splat(a2 + at);
            c20 = (0, lanes_1.madd)(x, b0, c20);
            c21 = (0, lanes_1.madd)(x, b1, c21);
            c22 = (0, lanes_1.madd)(x, b2, c22);
        }
        v128.store(c, c00, 0);
        v128.store(c, c01, 16);
        v128.store(c, c02, 32);
        v128.store(c, c10, 48);
        v128.store(c, c11, 64);
        v128.store(c, c12, 80);
        v128.store(c, c20, 96);
        v128.store(c, c21, 112);
        v128.store(c, c22, 128);
        c += 3 * lanes_1.LANE_BYTES;
    }
}
/** 12 accumulators, 1 vector of B, 1 splat, 1 product: 15 registers. For blocks of at most four rows; `rows` is a multiple of 12. */
// @ts-ignore: decorator
function multiply12x1(c, a, b, rows, count, aRow, aStep, accumulate) {
    const bEnd = b + count * lanes_1.LANE_BYTES;
    for (; rows > 0; rows -= 12) {
        let c0 = f32x4.splat(0);
        let c1 = c0, c2 = c0, c3 = c0, c4 = c0, c5 = c0, c6 = c0, c7 = c0, c8 = c0, c9 = c0, c10 = c0, c11 = c0;
        if (accumulate) {
            c0 = v128.load(c, 0 * lanes_1.LANE_BYTES);
            c1 = v128.load(c, 1 * lanes_1.LANE_BYTES);
            c2 = v128.load(c, 2 * lanes_1.LANE_BYTES);
            c3 = v128.load(c, 3 * lanes_1.LANE_BYTES);
            c4 = v128.load(c, 4 * lanes_1.LANE_BYTES);
            c5 = v128.load(c, 5 * lanes_1.LANE_BYTES);
            c6 = v128.load(c, 6 * lanes_1.LANE_BYTES);
            c7 = v128.load(c, 7 * lanes_1.LANE_BYTES);
            c8 = v128.load(c, 8 * lanes_1.LANE_BYTES);
            c9 = v128.load(c, 9 * lanes_1.LANE_BYTES);
            c10 = v128.load(c, 10 * lanes_1.LANE_BYTES);
            c11 = v128.load(c, 11 * lanes_1.LANE_BYTES);
        }
        for (let bt = b, column = a; bt < bEnd; bt += lanes_1.LANE_BYTES, column += aStep) {
            const b0 = v128.load(bt);
            // A running pointer: twelve of them would not fit the registers.
            let at = column;
            c0 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c0);
            at += aRow;
            c1 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c1);
            at += aRow;
            c2 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c2);
            at += aRow;
            c3 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c3);
            at += aRow;
            c4 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c4);
            at += aRow;
            c5 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c5);
            at += aRow;
            c6 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c6);
            at += aRow;
            c7 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c7);
            at += aRow;
            c8 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c8);
            at += aRow;
            c9 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c9);
            at += aRow;
            c10 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c10);
            at += aRow;
            c11 = (0, lanes_1.madd)(v128.load32_splat(at), b0, c11);
        }
        v128.store(c, c0, 0 * lanes_1.LANE_BYTES);
        v128.store(c, c1, 1 * lanes_1.LANE_BYTES);
        v128.store(c, c2, 2 * lanes_1.LANE_BYTES);
        v128.store(c, c3, 3 * lanes_1.LANE_BYTES);
        v128.store(c, c4, 4 * lanes_1.LANE_BYTES);
        v128.store(c, c5, 5 * lanes_1.LANE_BYTES);
        v128.store(c, c6, 6 * lanes_1.LANE_BYTES);
        v128.store(c, c7, 7 * lanes_1.LANE_BYTES);
        v128.store(c, c8, 8 * lanes_1.LANE_BYTES);
        v128.store(c, c9, 9 * lanes_1.LANE_BYTES);
        v128.store(c, c10, 10 * lanes_1.LANE_BYTES);
        v128.store(c, c11, 11 * lanes_1.LANE_BYTES);
        c += 12 * lanes_1.LANE_BYTES;
        a += 12 * aRow;
    }
}
