// Written by scripts/abi.js from the sources of assembly/: do not edit. `npm run abi` writes it anew.

/** Stored as f32. (assembly/kv/rows.ts) */
export const F32 = 0;

/** Stored as binary16. (assembly/kv/rows.ts) */
export const F16 = 1;

/** Stored as bytes with a scale for each row. (assembly/kv/rows.ts) */
export const INT8 = 2;

/** binary16 of any value; rows stand anywhere, as q, bias and out may too. (assembly/kv/rows.ts) */
export const HALF = 3;

/** bfloat16, likewise. (assembly/kv/rows.ts) */
export const BF16 = 4;

/** Keys in a page; also the most that one kv tile takes. (assembly/kv/rows.ts) */
export const PAGE_KEYS = 128;

/** The largest |queryOffset|. (assembly/args.ts) */
export const MAX_OFFSET = 1073741824;

/** A window without a bound. (assembly/args.ts) */
export const UNLIMITED = 2147483647;

/** Query rows of a KV head, at most, where K and V come in pieces. (assembly/prefill/passes.ts) */
export const MAX_PIECE_ROWS = 64;

/** The most query rows that one call takes. (assembly/decode/products.ts) */
export const MAX_DECODE_ROWS = 4;

/** Output features in one panel of a packed weight. (assembly/ops/linear.ts) */
export const PANEL_FEATURES = 16;

/** Rows of x that pass over a panel before the next panel comes. (assembly/ops/linear.ts) */
export const BLOCK_ROWS = 132;

/** (assembly/modules/transformer/norms.ts) */
export const NORM_RMS = 0;

/** (assembly/modules/transformer/norms.ts) */
export const NORM_LAYER = 1;

/** (assembly/modules/transformer/norms.ts) */
export const NORM_L2 = 2;

/** max(x, 0) (assembly/simd/activations.ts) */
export const ACT_RELU = 1;

/** x / (1 + e^−x) (assembly/simd/activations.ts) */
export const ACT_SILU = 2;

/** ½·x·(1 + tanh u) = x / (1 + e^−2u) with u = √(2/π)·(x + 0.044715·x³) (assembly/simd/activations.ts) */
export const ACT_GELU_TANH = 3;

/** x·Φ(x) (assembly/simd/activations.ts) */
export const ACT_GELU = 4;

/**
 * AttendArgs (assembly/args.ts) in memory: its fields, of four bytes each. The first `integers` are integers, the
 * others floats.
 */
export const ATTEND_ARGS = {
  integers: 50,
  fields: [
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
    "qType",
    "outType",
    "kScales",
    "vScales",
    "tiles",
    "constants",
    "numKvHeads",
    "group",
    "seqLenQ",
    "seqLenKv",
    "firstKey",
    "headDim",
    "valueDim",
    "fromKey",
    "toKey",
    "outRowStride",
    "outHeadStride",
    "lseHeadStride",
    "qRowStride",
    "qHeadStride",
    "kRowStride",
    "kHeadStride",
    "vRowStride",
    "vHeadStride",
    "maskRowStride",
    "maskHeadStride",
    "maskKeyStride",
    "biasRowStride",
    "biasHeadStride",
    "biasKeyStride",
    "useTile6x2",
    "careful",
    "reproducible",
    "half",
    "queryOffset",
    "left",
    "right",
    "queryScale",
    "scoreScale",
    "softcap",
    "lostSum",
  ],
} as const;

/** The values of AttendArgs. */
export type AttendArgs = Record<(typeof ATTEND_ARGS)["fields"][number], number>;

/**
 * ScoreRow (assembly/ops/score-rows.ts) in memory: its fields, of four bytes each. The first `integers` are integers, the
 * others floats.
 */
export const SCORE_ROW = {
  integers: 3,
  fields: ["row", "weights", "entropy", "lse", "m", "magnitude"],
} as const;

/** The values of ScoreRow. */
export type ScoreRow = Record<(typeof SCORE_ROW)["fields"][number], number>;

/** What the compiled module exports; pointers are byte offsets into the imported memory. */
export interface Kernels {
  /** out and lse of the work items [firstItem, endItem). (assembly/attend.ts) */
  attend(args: number, scratch: number, firstItem: number, endItem: number): number;
  /** Bytes of `args.tiles` for each KV head, where K and V come in pieces. (assembly/attend.ts) */
  pieceTileBytes(headDim: number, valueDim: number, rows: number): number;
  /** Bytes of scratch for `attend` of at most `rows` query rows a KV head. (assembly/attend.ts) */
  scratchBytes(headDim: number, valueDim: number, rows: number): number;
  /** Work items of a call. (assembly/attend.ts) */
  workItems(args: number): number;
  /** Writes the table of constants. (assembly/simd/constants.ts) */
  writeConstants(table: number): void;
  /** out = x·Wᵀ + bias (assembly/ops/linear.ts) */
  linear(
    out: number,
    x: number,
    panels: number,
    bias: number,
    scratch: number,
    rows: number,
    inFeatures: number,
    outFeatures: number,
    outRowStride: number,
    xRowStride: number,
    useTile6x2: boolean,
  ): void;
  /** Bytes of scratch that `linear` needs. (assembly/ops/linear.ts) */
  linearScratchBytes(): number;
  /** Packs W into panels. (assembly/ops/linear.ts) */
  packPanels(
    panels: number,
    weight: number,
    inFeatures: number,
    outFeatures: number,
    outStride: number,
    inStride: number,
  ): void;
  /** to = `count` rows of `dim` values as f32, toRowStride bytes apart. (assembly/kv/gather.ts) */
  gatherRows(
    to: number,
    from: number,
    scales: number,
    count: number,
    dim: number,
    toRowStride: number,
    fromRowStride: number,
    type: number,
  ): void;
  /** Stores `count` rows of `dim` floats as rows of a cache, or of an output. (assembly/kv/store.ts) */
  storeRows(
    to: number,
    scales: number,
    from: number,
    count: number,
    dim: number,
    toRowStride: number,
    fromRowStride: number,
    type: number,
  ): void;
  /** Rotates every head of `seqLen` rows. (assembly/ops/rotary.ts) */
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
    rowStride: number,
    headStride: number,
    interleaved: boolean,
  ): void;
  /** Bytes of scratch for `parts` parts. (assembly/ops/merge.ts) */
  mergeBytes(parts: number): number;
  /** Rows [first, first + rows) of out, in memory order, and of lse. (assembly/ops/merge.ts) */
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
  /**
   * The `count` largest of a row and where they stand, largest first; of equal ones the first first.
   * (assembly/ops/top-k.ts)
   */
  topOfRow(weights: number, indices: number, row: number, length: number, count: number): void;
  /** row ← row / divisor on [count] floats. (assembly/ops/probabilities.ts) */
  divideRow(row: number, count: number, divisor: number): void;
  /** The softmax of chosen rows over all seqLenKv keys, in place. (assembly/ops/probabilities.ts) */
  normalizeRows(args: number, scratch: number, rows: number, count: number, dim: number, hasLse: boolean): void;
  /**
   * to[key] += Σ weights[key] of the chosen rows, for [length] keys; BLOCK_KEYS rows are summed up from zero.
   * (assembly/ops/probabilities.ts)
   */
  sumRows(to: number, low: number, rows: number, count: number, length: number): void;
  /**
   * The scores of chosen rows for the keys [first, end), as they reach the softmax; −Infinity where a key is masked.
   * (assembly/ops/score-rows.ts)
   */
  scoreRows(
    args: number,
    scratch: number,
    rows: number,
    q: number,
    count: number,
    dim: number,
    first: number,
    end: number,
    trackMagnitude: boolean,
  ): void;
  /** Bytes of scratch. (assembly/ops/score-rows.ts) */
  scoreRowsBytes(headDim: number): number;
  /** Bytes of the table that `writeConstants` writes. (assembly/index.ts) */
  constantBytes(): number;
  /** Where TypeScript may start to use memory. (assembly/index.ts) */
  heapBase(): number;
  /** Whether this is the relaxed build. (assembly/index.ts) */
  isRelaxed(): number;
}

/** What the module of `linear` exports (docs/decisions/modules.md). */
export interface LinearKernels {
  /** Writes the constants of activations into the table of constants. (assembly/simd/activations.ts) */
  writeActivations(table: number): void;
  /** Bytes of scratch that `linearFused` needs. (assembly/modules/linear/linear.ts) */
  fusedScratchBytes(rows: number, inFeatures: number, group: number, isGated: boolean): number;
  /**
   * out = act(x·Wᵀ + bias) + residual; gated, with upPanels, out = act(x·Wᵀ + bias)·(x·Upᵀ + upBias) + residual.
   * (assembly/modules/linear/linear.ts)
   */
  linearFused(
    out: number,
    x: number,
    panels: number,
    bias: number,
    scratch: number,
    rows: number,
    inFeatures: number,
    outFeatures: number,
    outRowStride: number,
    xRowStride: number,
    useTile6x2: boolean,
    table: number,
    residual: number,
    activation: number,
    upPanels: number,
    upBias: number,
    upLane: number,
    group: number,
    isInt4: boolean,
  ): void;
  /** Whether this is the relaxed build of the module. (assembly/modules/linear/index.ts) */
  isRelaxedModule(): number;
}

/** What the module of transformer blocks exports (docs/decisions/transformer-module.md). */
export interface TransformerKernels {
  /** Writes the constants of activations into the table of constants. (assembly/simd/activations.ts) */
  writeActivations(table: number): void;
  /** out = act(x), or with a gate out = act(x)·up. (assembly/modules/transformer/activations.ts) */
  activateRows(
    out: number,
    x: number,
    up: number,
    rows: number,
    dim: number,
    xRowStride: number,
    activation: number,
    table: number,
  ): void;
  /**
   * out[row] = scale·table[ids[row]] + positions[positionIds[row]] + types[typeIds[row]]
   * (assembly/modules/transformer/embedding.ts)
   */
  embedRows(
    out: number,
    table: number,
    ids: number,
    positions: number,
    positionIds: number,
    types: number,
    typeIds: number,
    rows: number,
    dim: number,
    scale: number,
  ): void;
  /** out = the mean of those rows of x that are kept; 0 where none is. (assembly/modules/transformer/pooling.ts) */
  meanRows(out: number, x: number, keep: number, sums: number, rows: number, dim: number): void;
  /** One of the norms above, of rows of `dim` floats, one behind the other. (assembly/modules/transformer/norms.ts) */
  normRows(
    out: number,
    sum: number,
    x: number,
    residual: number,
    weight: number,
    bias: number,
    rows: number,
    dim: number,
    sumRowStride: number,
    eps: number,
    offset: number,
    kind: number,
  ): void;
  /** out = x·scale, or where cap > 0 cap·tanh(x·scale/cap). (assembly/modules/transformer/softmax.ts) */
  capLogits(out: number, x: number, scratch: number, count: number, scale: number, cap: number, table: number): void;
  /** Bytes of scratch for a softmax. (assembly/modules/transformer/softmax.ts) */
  softmaxBytes(): number;
  /** out = softmax(x·scale) of each row. (assembly/modules/transformer/softmax.ts) */
  softmaxRows(out: number, x: number, scratch: number, rows: number, dim: number, scale: number, table: number): void;
  /** Whether this is the relaxed build of the module. (assembly/modules/transformer/index.ts) */
  isRelaxedModule(): number;
}
