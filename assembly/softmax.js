"use strict";
// The online softmax (Milakov & Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135), one lane a row.
Object.defineProperty(exports, "__esModule", { value: true });
exports.softmaxStep = softmaxStep;
const lanes_1 = require("./lanes");
const exp_1 = require("./exp");
const block_1 = require("./block");
/**
 * One block of scores further:
 *
 *     m' = max(m, max S)    P = exp((S − m')·unit)    α = exp((m − m')·unit)    l' = α·l + Σ P
 *
 *   s      [count][LANES], S in, P out; −Infinity is a masked key and gives exactly 0
 *   unit   what one unit of S is worth as a score
 *
 * Writes M, L and ALPHA of the block. Returns whether α differs from 1, so that O must be multiplied by it.
 */
function softmaxStep(block, s, count, unit, constants) {
    const factor = unit * exp_1.LOG2_E;
    let rescale = false;
    for (let vector = 0; vector < block.vectors; vector++) {
        const at = vector << 4;
        const mPtr = (0, block_1.lanes)(block, block_1.M) + at;
        const lPtr = (0, block_1.lanes)(block, block_1.L) + at;
        const alphaPtr = (0, block_1.lanes)(block, block_1.ALPHA) + at;
        const m = v128.load(mPtr);
        const top = columnMax(s + at, count, m);
        v128.store(mPtr, top);
        const sum = (0, exp_1.expColumn)(s + at, lanes_1.LANE_BYTES, count, top, factor, constants);
        if (v128.any_true(f32x4.ne(m, top))) {
            v128.store(alphaPtr, m);
            (0, exp_1.expColumn)(alphaPtr, lanes_1.LANE_BYTES, 1, top, factor, constants);
            v128.store(lPtr, f32x4.add(f32x4.mul(v128.load(lPtr), v128.load(alphaPtr)), sum));
            rescale = true;
        }
        else {
            v128.store(alphaPtr, f32x4.splat(1));
            v128.store(lPtr, f32x4.add(v128.load(lPtr), sum));
        }
    }
    return rescale;
}
/** The largest of m and a column of vectors; NaN is passed over, the sum of the exponentials will carry it. */
function columnMax(s, count, m) {
    // Four chains, since each step waits for the one before.
    let m0 = m, m1 = m, m2 = m, m3 = m;
    const end = s + count * lanes_1.LANE_BYTES;
    for (; s + 3 * lanes_1.LANE_BYTES < end; s += 4 * lanes_1.LANE_BYTES) {
        m0 = (0, lanes_1.larger)(m0, v128.load(s));
        m1 = (0, lanes_1.larger)(m1, v128.load(s, lanes_1.LANE_BYTES));
        m2 = (0, lanes_1.larger)(m2, v128.load(s, 2 * lanes_1.LANE_BYTES));
        m3 = (0, lanes_1.larger)(m3, v128.load(s, 3 * lanes_1.LANE_BYTES));
    }
    for (; s < end; s += lanes_1.LANE_BYTES)
        m0 = (0, lanes_1.larger)(m0, v128.load(s));
    return (0, lanes_1.larger)((0, lanes_1.larger)(m0, m1), (0, lanes_1.larger)(m2, m3));
}
