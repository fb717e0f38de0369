import { splitScale } from "../attention/call.ts";
import { F32, SCORE_ROW } from "../engine/abi.ts";
import { writeStruct } from "../engine/kernels.ts";
import { widen } from "../engine/widen.ts";
import { floatsAt } from "../memory/arena.ts";
import { elementsOf, floatsOf } from "../memory/data.ts";
import { stridesOf } from "../memory/layout.ts";
import { halvesIn } from "../memory/staged-rows.ts";
import { bytesOf } from "../memory/float-types.ts";
import { type Plan, SCORE_ROW_BYTES } from "./plan.ts";
import type { Pass } from "./row-heads.ts";

/** −FLT_MAX, lower than every score: the running maximum of a row before its first key. */
const LOWEST = -3.4028234663852886e38;

/**
 * Writes what the kernels need of each row head of one pass, at its place: a ScoreRow in Plan.scoreRows, and q ·
 * queryScale in Plan.queries, with zeros behind it up to paddedDim.
 */
export function writeScoreRows(plan: Plan, { sequenceIndex, kvHead, rowHeads, place }: Pass): void {
  const { arena, problem, selection, outputs, paddedDim, weightRows } = plan;
  const { numHeads, numKvHeads, headDim, layout, rowsQ, rowsKv } = problem;
  const { rows, heads, lse } = selection;
  const { batch, startQ, startKv } = plan.sequences[sequenceIndex]!;
  const group = numHeads / numKvHeads;
  const lses = lse && floatsOf(arena, lse);
  const { type } = plan.q;
  const q = elementsOf(arena, plan.q);
  const queries = floatsAt(arena, plan.queries + place * paddedDim * 4, rowHeads.length * paddedDim);
  const strides = stridesOf(layout, rowsQ, numHeads, headDim, bytesOf(type));
  const { queryScale } = splitScale(problem.scale);
  rowHeads.forEach(({ row, head, resultRow }, n) => {
    const queryRow = rows[row]!;
    const queryHead = heads[head]!;
    const weights = weightRows ? weightRows + (place + n) * rowsKv * 4 : outputs.weights + resultRow * rowsKv * 4;
    const entropyRow = (batch * heads.length + head) * rows.length + row;
    writeStruct(arena.buffer, plan.scoreRows + (place + n) * SCORE_ROW_BYTES, SCORE_ROW, {
      // Kernels number the rows of a KV head query by query, the heads of its group side by side.
      row: (queryRow - startQ) * group + queryHead - kvHead * group,
      weights: weights + startKv * 4,
      entropy: outputs.entropy && outputs.entropy + entropyRow * 4,
      lse: lses ? lses[(batch * numHeads + queryHead) * rowsQ + queryRow]! : 0,
      m: LOWEST,
      magnitude: 0,
    });

    const from = (batch * strides.batch + queryRow * strides.row + queryHead * strides.head) / bytesOf(type);
    const to = n * paddedDim;
    let x: Float32Array | Uint16Array = q;
    let at = from;
    if (type !== F32) {
      const row = plan.queries + (place + n) * paddedDim * 4;
      const bits = new Uint16Array(arena.buffer, halvesIn(row, paddedDim), headDim);
      bits.set(q.subarray(from, from + headDim));
      widen(plan, row, paddedDim, type);
      x = queries;
      at = to;
    }
    for (let d = 0; d < headDim; d++) queries[to + d] = x[at + d]! * queryScale;
    queries.fill(0, to + headDim, to + paddedDim);
  });
}
