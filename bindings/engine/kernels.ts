import { PAGE_BYTES } from "../memory/arena.ts";

/** Which build of the kernels: `"simd"` runs wherever wasm SIMD does, `"relaxed"` has fused multiply-add. */
export type Variant = "simd" | "relaxed";

/** What the compiled module exports; pointers are byte offsets into the imported memory. */
export interface Kernels {
  /** out and lse of the heads of one sequence; `head` points at the fields of assembly/args.ts. */
  attend(head: number): number;
  /** Stores `count` rows of `dim` floats as rows of a cache; `type` as in {@link TYPES}, rows in bytes. */
  storeRows(
    to: number,
    scales: number,
    from: number,
    count: number,
    dim: number,
    toRow: number,
    fromRow: number,
    type: number,
  ): void;
  /** Rotary embedding of one batch entry; see assembly/ops/rotary.ts. */
  rotate(
    out: number,
    x: number,
    cos: number,
    sin: number,
    angles: number,
    seqLen: number,
    numHeads: number,
    headDim: number,
    rotaryDim: number,
    row: number,
    head: number,
    interleaved: boolean,
  ): void;
  /** out = x·Wᵀ + bias over a packed weight; rows in bytes. See assembly/ops/linear.ts. */
  linear(
    out: number,
    x: number,
    panels: number,
    bias: number,
    scratch: number,
    rows: number,
    inFeatures: number,
    outFeatures: number,
    outRow: number,
    xRow: number,
    tall: boolean,
  ): void;
  linearScratchBytes(): number;
  /** Packs a weight for `linear`; steps in bytes. */
  packPanels(
    panels: number,
    weight: number,
    inFeatures: number,
    outFeatures: number,
    outStep: number,
    inStep: number,
  ): void;
  panelBytes(inFeatures: number, outFeatures: number): number;
  /** Scores of `count` chosen rows for the keys [first, end); see assembly/ops/probabilities.ts. */
  weigh(
    head: number,
    rows: number,
    q: number,
    count: number,
    dim: number,
    first: number,
    end: number,
    sized: boolean,
  ): void;
  /** The softmax of `count` chosen rows, in place. */
  normalizeRows(head: number, rows: number, count: number, dim: number, hasLse: boolean): void;
  /** to += the sum of `count` chosen rows of `length` floats. */
  addRows(to: number, rows: number, count: number, length: number): void;
  divideRow(row: number, count: number, divisor: number): void;
  weighBytes(headDim: number): number;
  /** The `count` largest of `length` floats; see assembly/ops/top-k.ts. */
  topOfRow(weights: number, indices: number, row: number, length: number, count: number): void;
  /** Rows [first, first + rows) of attention over split keys; see assembly/ops/merge.ts. */
  mergeRows(
    out: number,
    lse: number,
    outs: number,
    lses: number,
    sinks: number,
    scratch: number,
    parts: number,
    first: number,
    rows: number,
    numHeads: number,
    seqLenQ: number,
    dim: number,
    byHead: boolean,
  ): void;
  mergeBytes(parts: number): number;
  /** For calls of at most `rows` query rows a KV head; for K and V in pieces, of `heads` KV heads. */
  scratchBytes(headDim: number, valueDim: number, rows: number, heads: number): number;
  /** Writes the table of constants that every kernel reads. */
  writeConstants(table: number): void;
  constantBytes(): number;
  /** The first byte that the module leaves free. */
  heapBase(): number;
  /** Whether this is the relaxed build. */
  isRelaxed(): number;
}

/** An instance of the kernels over a memory of their own that may grow to `maxMemory` bytes. */
export function instantiate(
  module: WebAssembly.Module,
  maxMemory: number,
): { kernels: Kernels; memory: WebAssembly.Memory } {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: Math.floor(maxMemory / PAGE_BYTES) });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { kernels: exports as unknown as Kernels, memory };
}

/** How the kernels number the stored types of K and V, and the bytes of one value (assembly/kv/rows.ts). */
export const TYPES = {
  f32: { number: 0, bytes: 4 },
  f16: { number: 1, bytes: 2 },
  int8: { number: 2, bytes: 1 },
} as const;

/** Output features in one panel of a packed weight (LANES in assembly/simd/lanes.ts). */
export const PANEL_FEATURES = 16;

/** Keys in one page of a cache (assembly/kv/rows.ts). */
export const PAGE_KEYS = 128;
