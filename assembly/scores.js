"use strict";
// What is added to a block of scores S [count][LANES] between the product and the masks: softcap, ALiBi, bias.
Object.defineProperty(exports, "__esModule", { value: true });
exports.adjustsScores = adjustsScores;
exports.adjustScores = adjustScores;
exports.addBias = addBias;
const lanes_1 = require("./lanes");
const exp_1 = require("./exp");
const block_1 = require("./block");
/** Whether {@link adjustScores} has anything to do. */
// @ts-ignore: decorator
function adjustsScores(head) {
    return head.softcap > 0 || head.alibiSlopes != 0 || head.bias != 0;
}
/** S ← cap·tanh(S·scoreScale/cap) − slope·|position − key| + bias, of the keys from `first` on. */
function adjustScores(block, head, s, first, count) {
    if (head.softcap > 0)
        (0, exp_1.softcap)(s, count * lanes_1.VECTORS, head.scoreScale, head.softcap, head.constants);
    else if (head.scoreScale != 1)
        scaleScores(s, count, head.scoreScale);
    if (head.alibiSlopes)
        addAlibi(block, s, first, count);
    if (head.bias)
        addBias(block, head, s, first, count);
}
function scaleScores(s, count, factor) {
    for (const end = s + count * lanes_1.LANE_BYTES; s < end; s += 16) {
        v128.store(s, f32x4.mul(v128.load(s), f32x4.splat(factor)));
    }
}
/** S[key] −= slope·|position − key| (Press et al., arXiv 2108.12409) */
function addAlibi(block, s, first, count) {
    for (let vector = 0; vector < block.vectors; vector++) {
        const at = vector << 4;
        const slope = v128.load((0, block_1.lanes)(block, block_1.SLOPE) + at);
        let ahead = i32x4.sub(v128.load((0, block_1.lanes)(block, block_1.POSITION) + at), i32x4.splat(first));
        const one = i32x4.splat(1);
        let row = s + at;
        for (let key = 0; key < count; key++) {
            const distance = f32x4.abs(f32x4.convert_i32x4_s(ahead));
            v128.store(row, f32x4.sub(v128.load(row), f32x4.mul(slope, distance)));
            ahead = i32x4.sub(ahead, one);
            row += lanes_1.LANE_BYTES;
        }
    }
}
/** S[key] += bias[row][key], four keys of four rows at a time; the last step may run into the scratch rows of S. */
function addBias(block, head, s, first, count) {
    const step = head.biasKey;
    for (let lane = 0; lane < block.vectors << 2; lane += 4) {
        const rows = (0, block_1.lanes)(block, block_1.BIAS_ROW) + (lane << 2);
        const skip = first * step;
        let r0 = load(rows, 0) + skip;
        let r1 = load(rows, 4) + skip;
        let r2 = load(rows, 8) + skip;
        let r3 = load(rows, 12) + skip;
        let column = s + (lane << 2);
        for (let key = 0; key < count; key += 4) {
            const c1 = column + lanes_1.LANE_BYTES;
            const c2 = c1 + lanes_1.LANE_BYTES;
            const c3 = c2 + lanes_1.LANE_BYTES;
            const s0 = v128.load(column);
            const s1 = v128.load(c1);
            const s2 = v128.load(c2);
            const s3 = v128.load(c3);
            // A bias that is the same for every key has a step of 0: one float of it stands for four keys.
            if (step)
                (0, lanes_1.storeTransposed)(column, c1, c2, c3, v128.load(r0), v128.load(r1), v128.load(r2), v128.load(r3));
            else {
                (0, lanes_1.storeTransposed)(column, c1, c2, c3, v128.load32_splat(r0), v128.load32_splat(r1), v128.load32_splat(r2), v128.load32_splat(r3));
            }
            v128.store(column, biased(s0, v128.load(column)));
            v128.store(c1, biased(s1, v128.load(c1)));
            v128.store(c2, biased(s2, v128.load(c2)));
            v128.store(c3, biased(s3, v128.load(c3)));
            r0 += 4 * step;
            r1 += 4 * step;
            r2 += 4 * step;
            r3 += 4 * step;
            column += 4 * lanes_1.LANE_BYTES;
        }
    }
}
/** score + bias; a bias of −Infinity masks, whatever the score. */
// @ts-ignore: decorator
function biased(score, bias) {
    const masks = f32x4.eq(bias, f32x4.splat(-Infinity));
    return v128.bitselect(bias, f32x4.add(score, bias), masks);
}
