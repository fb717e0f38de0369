// Which addresses a kernel is handed: its parameters, by the names that they have in bindings/engine/abi.ts, and what the
// structs and tables hold to which they point.
import { readFileSync } from "node:fs";
import {
  ATTEND_ARGS,
  type AttendArgs,
  type Kernels,
  type LinearKernels,
  SCORE_ROW,
  type ScoreRow,
  type TransformerKernels,
} from "../../bindings/engine/abi.ts";

/** Addresses that a kernel may read, and such that it may write too. 0 is none. */
export interface Pointers {
  reads: number[];
  writes: number[];
}

/** The arguments of a call, by the names of the parameters that matter here. */
type Named = Record<Name, number>;
type Name =
  | "args"
  | "scratch"
  | "table"
  | "out"
  | "x"
  | "panels"
  | "residual"
  | "upPanels"
  | "upBias"
  | "bias"
  | "weight"
  | "to"
  | "scales"
  | "from"
  | "cos"
  | "sin"
  | "angles"
  | "lse"
  | "outs"
  | "lses"
  | "sinks"
  | "parts"
  | "weights"
  | "indices"
  | "row"
  | "rows"
  | "count"
  | "low"
  | "q"
  | "up"
  | "ids"
  | "positions"
  | "positionIds"
  | "types"
  | "typeIds"
  | "keep"
  | "sums"
  | "sum";

/** The value of a field, or an entry of a table, at `ptr`. */
type Word = (ptr: number, index: number) => number;

const text = readFileSync(new URL("../../bindings/engine/abi.ts", import.meta.url), "utf8");
const parameters = new Map(
  Array.from(text.matchAll(/^ {2}(\w+)\(([^)]*)\): /gm), ([, kernel, list]) => [
    kernel!,
    Array.from(list!.matchAll(/(\w+):/g), ([, name]) => name!),
  ]),
);

function entries(word: Word, table: number, count: number): number[] {
  return table === 0 ? [] : Array.from({ length: count }, (_, n) => word(table, n));
}

const ATTEND_WRITES = ["out", "lse", "tiles"] as const;
const ATTEND_READS = ["q", "keepMask", "bias", "alibiSlopes", "sinks", "pages", "constants"] as const;

function attendArgs(word: Word, args: number): Pointers {
  const field = (name: keyof AttendArgs) => word(args, ATTEND_ARGS.fields.indexOf(name));
  // With pages, k and v are offsets in a page.
  const pages = field("pages");
  const kv = pages === 0 ? [field("k"), field("v")] : entries(word, pages, field("pageCount"));
  return { reads: [args, ...ATTEND_READS.map(field), ...kv], writes: ATTEND_WRITES.map(field) };
}

/** The weights, and the entropy, of `count` ScoreRows. */
function scoreRows(word: Word, rows: number, count: number): number[] {
  const { fields } = SCORE_ROW;
  const field = (row: number, name: keyof ScoreRow) => word(rows, row * fields.length + fields.indexOf(name));
  return Array.from({ length: count }, (_, row) => [field(row, "weights"), field(row, "entropy")]).flat();
}

type AnyKernel = keyof Kernels | keyof LinearKernels | keyof TransformerKernels;

const kernels: Partial<Record<AnyKernel, (word: Word, named: Named) => Pointers>> = {
  attend: (word, { args, scratch }) => {
    const { reads, writes } = attendArgs(word, args);
    return { reads, writes: [scratch, ...writes] };
  },
  workItems: (_, { args }) => ({ reads: [args], writes: [] }),
  writeConstants: (_, { table }) => ({ reads: [], writes: [table] }),
  writeActivations: (_, { table }) => ({ reads: [], writes: [table] }),
  linear: (_, { out, x, panels, bias, scratch }) => ({ reads: [x, panels, bias], writes: [out, scratch] }),
  linearFused: (_, { out, x, panels, bias, scratch, table, residual, upPanels, upBias }) => ({
    reads: [x, panels, bias, table, residual, upPanels, upBias],
    writes: [out, scratch],
  }),
  packPanels: (_, { panels, weight }) => ({ reads: [weight], writes: [panels] }),
  storeRows: (_, { to, scales, from }) => ({ reads: [from], writes: [to, scales] }),
  gatherRows: (_, { to, scales, from }) => ({ reads: [from, scales], writes: [to] }),
  rotate: (_, { out, x, cos, sin, angles }) => ({ reads: [x, cos, sin, angles], writes: [out] }),
  mergeRows: (word, { out, lse, outs, lses, sinks, scratch, parts }) => ({
    reads: [outs, lses, sinks, ...entries(word, outs, parts), ...entries(word, lses, parts)],
    writes: [out, lse, scratch],
  }),
  topOfRow: (_, { weights, indices, row }) => ({ reads: [row], writes: [weights, indices] }),
  divideRow: (_, { row }) => ({ reads: [], writes: [row] }),
  normalizeRows: (word, { args, scratch, rows, count }) => ({
    reads: attendArgs(word, args).reads,
    writes: [scratch, rows, ...scoreRows(word, rows, count)],
  }),
  sumRows: (word, { to, low, rows, count }) => ({
    reads: [rows, ...scoreRows(word, rows, count)],
    writes: [to, low],
  }),
  scoreRows: (word, { args, scratch, rows, q, count }) => ({
    reads: [q, ...attendArgs(word, args).reads],
    writes: [scratch, rows, ...scoreRows(word, rows, count)],
  }),
  normRows: (_, { out, sum, x, residual, weight, bias }) => ({
    reads: [x, residual, weight, bias],
    writes: residual === 0 ? [out] : [out, sum],
  }),
  activateRows: (_, { out, x, up, table }) => ({ reads: [x, up, table], writes: [out] }),
  embedRows: (_, { out, table, ids, positions, positionIds, types, typeIds }) => ({
    reads: [table, ids, positions, positionIds, types, typeIds],
    writes: [out],
  }),
  meanRows: (_, { out, x, keep, sums }) => ({ reads: [x, keep], writes: [out, sums] }),
  softmaxRows: (_, { out, x, scratch, table }) => ({ reads: [x, table], writes: [out, scratch] }),
  capLogits: (_, { out, x, scratch, table }) => ({ reads: [x, table], writes: [out, scratch] }),
};

/**
 * The addresses that a call of a kernel is handed. A kernel that is not known here is handed none.
 *
 * @throws Error where a kernel no longer has a parameter that is named here
 */
export function pointersOf(kernel: string, args: readonly number[], buffer: ArrayBuffer): Pointers {
  const word: Word = (ptr, index) => new Uint32Array(buffer, ptr, index + 1)[index]!;
  const values = new Map((parameters.get(kernel) ?? []).map((name, n) => [name, args[n]!]));
  const named = new Proxy<Named>({} as Named, {
    get: (_, name: string) => {
      if (!values.has(name)) throw new Error(`${kernel} has no parameter ${name} any more: see ${import.meta.url}`);
      return values.get(name);
    },
  });
  return kernels[kernel as keyof typeof kernels]?.(word, named) ?? { reads: [], writes: [] };
}
