/**
 * The fields of `Head` in assembly/args.ts, in the same order: pointers and strides in bytes, dims in elements, four bytes each.
 * A test compares the two.
 */
export const ATTEND_ARGS_FIELDS = [
  "out",
  "lse",
  "q",
  "k",
  "v",
  "keepMask",
  "bias",
  "alibiSlopes",
  "sinks",
  "pages",
  "pageCount",
  "kType",
  "vType",
  "kScales",
  "vScales",
  "scratch",
  "constants",
  "numKvHeads",
  "group",
  "seqLenQ",
  "seqLenKv",
  "headDim",
  "valueDim",
  "fromKey",
  "toKey",
  "outRow",
  "outHead",
  "lseHead",
  "qRow",
  "qHead",
  "kRow",
  "kHead",
  "vRow",
  "vHead",
  "maskRow",
  "maskHead",
  "maskKey",
  "biasRow",
  "biasHead",
  "biasKey",
  "tall",
  "careful",
  "queryOffset",
  "left",
  "right",
  "queryScale",
  "scoreScale",
  "softcap",
] as const;

/** Bytes of the arguments. */
export const ATTEND_ARGS_BYTES = ATTEND_ARGS_FIELDS.length * 4;

type Field = (typeof ATTEND_ARGS_FIELDS)[number];

/** The last fields are floats, all before them integers. */
const FIRST_FLOAT = ATTEND_ARGS_FIELDS.indexOf("queryScale");

/** The arguments of the `attend` kernel. */
export type AttendArgs = Record<Field, number>;

/** Writes the arguments of one call at `ptr`. */
export function writeAttendArgs(buffer: ArrayBuffer, ptr: number, head: AttendArgs): void {
  const words = new Int32Array(buffer, ptr, ATTEND_ARGS_FIELDS.length);
  const floats = new Float32Array(buffer, ptr, ATTEND_ARGS_FIELDS.length);
  for (let i = 0; i < FIRST_FLOAT; i++) words[i] = head[ATTEND_ARGS_FIELDS[i]!];
  for (let i = FIRST_FLOAT; i < ATTEND_ARGS_FIELDS.length; i++) floats[i] = head[ATTEND_ARGS_FIELDS[i]!];
}
