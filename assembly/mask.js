"use strict";
// Which keys a row sees. By position a row sees one interval of keys: causal, window and kvLengths all come to that.
//
//     seqLenQ 4, seqLenKv 6, causal, bottom-right     window { left: 2 } besides
//       key    0 1 2 3 4 5                              0 1 2 3 4 5
//     query 0  ■ ■ ■ · · ·   position 2                 ■ ■ ■ · · ·
//     query 1  ■ ■ ■ ■ · ·            3                 · ■ ■ ■ · ·
//     query 2  ■ ■ ■ ■ ■ ·            4                 · · ■ ■ ■ ·
//     query 3  ■ ■ ■ ■ ■ ■            5                 · · · ■ ■ ■
//
// Within it, keepMask and a bias of −Infinity take single keys away.
Object.defineProperty(exports, "__esModule", { value: true });
exports.keptByAny = keptByAny;
exports.seesAny = seesAny;
exports.maskScores = maskScores;
const lanes_1 = require("./lanes");
const block_1 = require("./block");
/** Whether keepMask and bias leave `key` to the row in `lane`. */
function keeps(block, head, lane, key) {
    const at = lane << 2;
    if (head.keepMask) {
        const row = load((0, block_1.lanes)(block, block_1.MASK_ROW) + at);
        if (!load(row + key * head.maskKey))
            return false;
    }
    if (head.bias) {
        const row = load((0, block_1.lanes)(block, block_1.BIAS_ROW) + at);
        if (load(row + key * head.biasKey) == -Infinity)
            return false;
    }
    return true;
}
/** Whether keepMask and bias leave `key` to any row of the block. */
function keptByAny(block, head, key) {
    // A mask that is the same for every query and head answers for all lanes at once.
    const shared = !(head.maskRow | head.maskHead | head.biasRow | head.biasHead);
    const count = shared ? 1 : block.vectors << 2;
    for (let lane = 0; lane < count; lane++) {
        if (keeps(block, head, lane, key))
            return true;
    }
    return false;
}
/** Whether the row in `lane` sees any key at all. */
function seesAny(block, head, lane) {
    const at = lane << 2;
    const to = load((0, block_1.lanes)(block, block_1.TO) + at);
    for (let key = load((0, block_1.lanes)(block, block_1.FROM) + at); key < to; key++) {
        if (keeps(block, head, lane, key))
            return true;
    }
    return false;
}
/** S[key] = −Infinity where the row does not see the key, for the keys from `first` on. */
function maskScores(block, head, s, first, count) {
    if (first < block.commonFirst || first + count > block.commonEnd)
        maskIntervals(block, s, first, count);
    if (head.keepMask)
        maskUnkept(block, head, s, first, count);
}
function maskIntervals(block, s, first, count) {
    const masked = f32x4.splat(-Infinity);
    const one = i32x4.splat(1);
    for (let vector = 0; vector < block.vectors; vector++) {
        const at = vector << 4;
        const from = v128.load((0, block_1.lanes)(block, block_1.FROM) + at);
        const to = v128.load((0, block_1.lanes)(block, block_1.TO) + at);
        let key = i32x4.splat(first);
        let row = s + at;
        for (let left = count; left > 0; left--) {
            const sees = v128.and(i32x4.ge_s(key, from), i32x4.lt_s(key, to));
            v128.store(row, v128.bitselect(v128.load(row), masked, sees));
            key = i32x4.add(key, one);
            row += lanes_1.LANE_BYTES;
        }
    }
}
/** Four keys of four rows at a time, one byte each; the last step may run into the scratch rows of S. */
function maskUnkept(block, head, s, first, count) {
    const step = head.maskKey;
    for (let lane = 0; lane < block.vectors << 2; lane += 4) {
        const rows = (0, block_1.lanes)(block, block_1.MASK_ROW) + (lane << 2);
        const skip = first * step;
        let r0 = load(rows, 0) + skip;
        let r1 = load(rows, 4) + skip;
        let r2 = load(rows, 8) + skip;
        let r3 = load(rows, 12) + skip;
        let column = s + (lane << 2);
        for (let key = 0; key < count; key += 4) {
            let bytes = v128.load32_zero(r0);
            bytes = v128.load_lane(r1, bytes, 1);
            bytes = v128.load_lane(r2, bytes, 2);
            bytes = v128.load_lane(r3, bytes, 3);
            // A mask that is the same for every key has a step of 0: its first byte stands for four keys.
            if (!step)
                bytes = v128.shuffle(bytes, bytes, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
            keepWhere(column, v128.and(bytes, i32x4.splat(0xff)));
            keepWhere(column + lanes_1.LANE_BYTES, v128.and(bytes, i32x4.splat(0xff00)));
            keepWhere(column + 2 * lanes_1.LANE_BYTES, v128.and(bytes, i32x4.splat(0xff0000)));
            keepWhere(column + 3 * lanes_1.LANE_BYTES, v128.and(bytes, i32x4.splat(0xff000000)));
            r0 += 4 * step;
            r1 += 4 * step;
            r2 += 4 * step;
            r3 += 4 * step;
            column += 4 * lanes_1.LANE_BYTES;
        }
    }
}
/** S = −Infinity in the lanes where `kept` is 0. */
// @ts-ignore: decorator
function keepWhere(s, kept) {
    v128.store(s, v128.bitselect(f32x4.splat(-Infinity), v128.load(s), i32x4.eq(kept, i32x4.splat(0))));
}
