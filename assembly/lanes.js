"use strict";
// Query rows stand in the lanes. A block holds LANES rows of q in VECTORS vectors of four; everything that belongs to a
// row (its scores, its maximum, its column of the output) stays in that row's lane, so no step reduces across lanes.
Object.defineProperty(exports, "__esModule", { value: true });
exports.LANE_BYTES = exports.LANES = exports.VECTORS = void 0;
exports.madd = madd;
exports.larger = larger;
exports.storeTransposed = storeTransposed;
/** Vectors of query rows in one block; tile.ts says why. */
// @ts-ignore: decorator
exports.VECTORS = 4;
/** Query rows in one block. */
// @ts-ignore: decorator
exports.LANES = exports.VECTORS * 4;
/** Bytes of one value for each lane: the row of every [n][LANES] array in scratch. */
// @ts-ignore: decorator
exports.LANE_BYTES = exports.LANES * 4;
/** a·b + c; fused, and rounded once, where the build has relaxed SIMD. */
// @ts-ignore: decorator
function madd(a, b, c) {
    return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}
/** The larger of a and b where b is a number, a where b is NaN. One instruction, unlike f32x4.max. */
// @ts-ignore: decorator
function larger(a, b) {
    return f32x4.pmax(a, b);
}
/**
 * Transposes four rows of four floats and stores the columns.
 *
 *     s0: a0 a1 a2 a3          d0: a0 b0 c0 d0
 *     s1: b0 b1 b2 b3    →     d1: a1 b1 c1 d1
 *     s2: c0 c1 c2 c3          d2: a2 b2 c2 d2
 *     s3: d0 d1 d2 d3          d3: a3 b3 c3 d3
 */
// @ts-ignore: decorator
function storeTransposed(d0, d1, d2, d3, s0, s1, s2, s3) {
    const ab01 = v128.shuffle(s0, s1, 0, 4, 1, 5);
    const ab23 = v128.shuffle(s0, s1, 2, 6, 3, 7);
    const cd01 = v128.shuffle(s2, s3, 0, 4, 1, 5);
    const cd23 = v128.shuffle(s2, s3, 2, 6, 3, 7);
    v128.store(d0, v128.shuffle(ab01, cd01, 0, 2));
    v128.store(d1, v128.shuffle(ab01, cd01, 1, 3));
    v128.store(d2, v128.shuffle(ab23, cd23, 0, 2));
    v128.store(d3, v128.shuffle(ab23, cd23, 1, 3));
}
