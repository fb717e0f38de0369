/**
 * The fields of `Head` in assembly/head.ts, in the same order: pointers and strides in bytes, dims in elements, four bytes each.
 * A test compares the two.
 */
export const HEAD_FIELDS = [
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
export const HEAD_BYTES = HEAD_FIELDS.length * 4;

type Field = (typeof HEAD_FIELDS)[number];

/** The last fields are floats, all before them integers. */
const FIRST_FLOAT = HEAD_FIELDS.indexOf("queryScale");

/** The arguments of the `attend` kernel. */
export type Head = Record<Field, number>;

/** Writes the arguments of one call at `ptr`. */
export function writeHead(buffer: ArrayBuffer, ptr: number, head: Head): void {
  const words = new Int32Array(buffer, ptr, HEAD_FIELDS.length);
  const floats = new Float32Array(buffer, ptr, HEAD_FIELDS.length);
  for (let i = 0; i < FIRST_FLOAT; i++) words[i] = head[HEAD_FIELDS[i]!];
  for (let i = FIRST_FLOAT; i < HEAD_FIELDS.length; i++) floats[i] = head[HEAD_FIELDS[i]!];
}
