// What GroupQueryAttention does to q and to the new rows of k before it appends k to the past: first RMSNorm, then
// rotary embedding.
import { wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { rotateRows, tablesOf } from "./rotary-embedding.ts";
import { type FloatForm, widened } from "./halves.ts";
import { Rows } from "./rows.ts";
import { type Operand, type Operands, checkEach, checkShape } from "./operands.ts";

/** q and the new rows of k. */
interface QueryKey {
  q: Rows;
  k: Rows;
}

/** RMSNorm, in f32: each row divided by its root mean square, times q_norm_weight or k_norm_weight. Without these nothing. */
export function normalizeQueryKey(operands: Operands, { q, k }: QueryKey): QueryKey {
  const epsilon = operands.magnitude("qk_norm_epsilon", 1e-6);
  const weights = operands.pair(["q_norm_weight", "k_norm_weight"], [1]);
  if (!weights) return { q, k };
  const [qWeight, kWeight] = weights;
  checkShape("q_norm_weight", qWeight.shape, [q.dim]);
  checkShape("k_norm_weight", kWeight.shape, [q.dim]);
  const norm = (rows: Rows, given: Operand): Rows => {
    const weight = widened(given.data, given.form);
    const data = widened(rows.data, rows.form).slice();
    for (let row = 0; row < data.length; row += rows.dim) {
      let squares = 0;
      for (let d = 0; d < rows.dim; d++) squares += data[row + d]! * data[row + d]!;
      const factor = 1 / Math.sqrt(squares / rows.dim + epsilon);
      for (let d = 0; d < rows.dim; d++) data[row + d]! *= factor * weight[d]!;
    }
    return new Rows(rows, rows.layout, data);
  };
  return { q: norm(q, qWeight), k: norm(k, kWeight) };
}

/**
 * Rotary embedding of q and k, that of q in f32, where do_rotary asks for it. Row n of a sequence has the position starts[sequence] + n,
 * or that of position_ids; of a prompt the first of position_ids counts, as the position of row 0.
 *
 * @param total keys of the longest sequence
 * @param form of k
 */
export function rotateQueryKey(
  heed: Heed,
  operands: Operands,
  { q, k }: QueryKey,
  startsQ: Int32Array,
  startsK: Int32Array,
  total: number,
  form: FloatForm,
): QueryKey {
  const interleaved = operands.flag("rotary_interleaved");
  if (!operands.flag("do_rotary")) return { q, k };
  const tables = tablesOf(operands, 2);
  if (tables.rotaryDim > q.dim) throw wrongValue("cos_cache.shape[1]", `at most ${q.dim / 2}`, tables.rotaryDim / 2);
  const rows = tables.shape[0]!;
  const ids = checkPositionIds(operands, q, k, rows);
  const isPrompt = q.length === total;
  const promptStart = ids && isPrompt ? ids[0]! : undefined;
  const most = total + (promptStart ?? 0);
  if ((!ids || isPrompt) && most > rows) {
    throw wrongValue("cos_cache.shape[0]", `at least ${most} (positions)`, rows);
  }
  const early = ids ? -1 : startsQ.findIndex((start) => start < 0);
  if (early >= 0) {
    const last = q.length - 1;
    throw wrongValue(
      `seqlens_k[${early}]`,
      `at least ${last}: query has more rows than there are keys`,
      startsQ[early]! + last,
    );
  }
  const positions = (starts: Int32Array, length: number): Int32Array => {
    if (ids && promptStart === undefined) return ids;
    const startOf = (n: number) => promptStart ?? starts[Math.floor(n / length)]!;
    return Int32Array.from({ length: starts.length * length }, (_, n) => startOf(n) + (n % length));
  };
  return {
    q: rotateRows(heed, q, tables, positions(startsQ, q.length), interleaved, "f32"),
    k: rotateRows(heed, k, tables, positions(startsK, k.length), interleaved, form),
  };
}

/** The input position_ids, [batch, length]: rows of tables that have `rows` of them. Undefined where it is absent. */
function checkPositionIds(operands: Operands, q: Rows, k: Rows, rows: number): Int32Array | undefined {
  const ids = operands.integers("position_ids", [2]);
  if (!ids) return undefined;
  if (ids.length !== q.batch * q.length) {
    throw wrongValue("position_ids.shape", `[${q.batch}, ${q.length}]`, `${ids.length} elements`);
  }
  if (k.length !== q.length) throw wrongValue("position_ids", `nothing (query and key differ in length)`, ids);
  checkEach("position_ids", ids, 0, rows - 1, "rows of cos_cache");
  return ids;
}
