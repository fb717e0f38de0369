// What GroupQueryAttention does to q and to the new rows of k before it scores them and keeps k: first their norm, then rotation.
import { wrongKind, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { rotated, tablesOf } from "./rotary-embedding.ts";
import { Rows } from "./rows.ts";
import { type Operands, checkShape } from "./operands.ts";

interface QueryKey {
  q: Rows;
  k: Rows;
}

/** q and k divided by the root mean square of each row, times a weight. */
export function normalized(operands: Operands, { q, k }: QueryKey): QueryKey {
  const [ofQ, ofK] = [operands.floats("q_norm_weight", [1]), operands.floats("k_norm_weight", [1])];
  if (!ofQ && !ofK) return { q, k };
  if (!ofQ || !ofK)
    throw wrongKind(ofQ ? "k_norm_weight" : "q_norm_weight", "{ data, shape } beside the other", undefined);
  checkShape("q_norm_weight", ofQ.shape, [q.dim]);
  checkShape("k_norm_weight", ofK.shape, [q.dim]);
  const epsilon = operands.number("qk_norm_epsilon", 1e-6);
  const norm = (rows: Rows, weight: Float32Array): Rows => {
    const data = rows.data.slice();
    for (let at = 0; at < data.length; at += rows.dim) {
      let squares = 0;
      for (let d = at; d < at + rows.dim; d++) squares += data[d]! * data[d]!;
      const factor = 1 / Math.sqrt(squares / rows.dim + epsilon);
      for (let d = 0; d < rows.dim; d++) data[at + d]! *= factor * weight[d]!;
    }
    return new Rows(rows, rows.layout, data);
  };
  return { q: norm(q, ofQ.data), k: norm(k, ofK.data) };
}

/** q and k turned by their positions, from startsQ and startsK on, or by position_ids. */
export function rotatedRows(
  heed: Heed,
  operands: Operands,
  { q, k }: QueryKey,
  startsQ: Int32Array,
  startsK: Int32Array,
  total: number,
): QueryKey {
  if (!operands.flag("do_rotary")) return { q, k };
  const interleaved = operands.flag("rotary_interleaved");
  const tables = tablesOf(operands, 2);
  if (tables.rotaryDim > q.dim) throw wrongValue("cos_cache.shape[1]", `at most ${q.dim / 2}`, tables.rotaryDim / 2);
  const ids = operands.integers("position_ids", [2]);
  if (ids && ids.length !== q.batch * q.length) {
    throw wrongValue("position_ids.shape", `[${q.batch}, ${q.length}]`, `${ids.length} elements`);
  }
  if (ids && k.length !== q.length) throw wrongValue("position_ids", `nothing (query and key differ in length)`, ids);
  const rows = tables.shape[0]!;
  const wrong = ids ? ids.findIndex((id) => id < 0 || id >= rows) : -1;
  if (wrong >= 0) throw wrongValue(`position_ids[${wrong}]`, `from 0 to ${rows - 1} (rows of cos_cache)`, ids![wrong]);
  const most = total + (ids && q.length === total ? ids[0]! : 0);
  if ((!ids || q.length === total) && most > rows)
    throw wrongValue("cos_cache.shape[0]", `at least ${most} (positions)`, rows);
  // Of a prompt only the first element counts, where its first row stands.
  const start = ids && q.length === total ? ids[0] : undefined;
  const positions = (starts: Int32Array, length: number) =>
    ids && start === undefined
      ? ids
      : Int32Array.from(
          { length: starts.length * length },
          (_, n) => (start ?? starts[Math.floor(n / length)]!) + (n % length),
        );
  return {
    q: rotated(heed, q, tables, positions(startsQ, q.length), interleaved),
    k: rotated(heed, k, tables, positions(startsK, k.length), interleaved),
  };
}
