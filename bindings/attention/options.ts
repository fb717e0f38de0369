import type { Layout } from "../memory/layout.ts";
import type { Tensor } from "../memory/tensor.ts";

/** What `attention` takes besides q, k and v. Every option combines with every other. */
export interface AttentionOptions {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of q and of k. */
  headDim: number;
  /** KV heads; divides numHeads. Query head h reads KV head floor(h / (numHeads / numKvHeads)). Default numHeads. */
  numKvHeads?: number | undefined;
  /** Floats in a row of v and of out. Default headDim. */
  valueDim?: number | undefined;
  /** Default 1; with packed sequences (cuSeqlensQ) it stays 1. */
  batch?: number | undefined;
  /** Of q, k, v and out. Default "blhd". Packed sequences: [total, heads, dim] or [heads, total, dim]. */
  layout?: Layout | undefined;
  /** Factor of q·k. Default 1/√headDim. */
  scale?: number | undefined;
  /** Query i sees key j iff j ≤ i + queryOffset. Default false. */
  causal?: boolean | undefined;
  /**
   * Where query 0 stands among the keys, one number or one a sequence, −2³⁰ … 2³⁰. Default (valid keys) − seqLenQ: the last query
   * stands at the last key. 0 aligns the first query with the first key.
   */
  queryOffset?: number | Int32Array | undefined;
  /** Keys kept to the left and to the right of a query's own position i + queryOffset, inclusive. Default unlimited. */
  window?: { left?: number | undefined; right?: number | undefined } | undefined;
  /** Valid keys of each sequence, at the front; the rest are never read. Default all. */
  kvLengths?: Int32Array | undefined;
  /** Non-zero = attend. Broadcasts, right-aligned, to [batch, numHeads, seqLenQ, seqLenKv] ([1, numHeads, totalQ, totalKv] if packed). */
  keepMask?: { data: Uint8Array; shape: readonly number[] } | undefined;
  /** Added to the score, broadcast like keepMask; −Infinity masks. */
  bias?: { data: Float32Array | Tensor; shape: readonly number[] } | undefined;
  /** [numHeads] or [batch·numHeads]: score −= slope·|i + queryOffset − j|. */
  alibiSlopes?: Float32Array | Tensor | undefined;
  /** c > 0: score = c·tanh(score/c). Default off. */
  softcap?: number | undefined;
  /** Shape [numHeads]: one more logit for each query head, in the denominator only; not scaled, capped or masked. */
  sinks?: Float32Array | Tensor | undefined;
  /** Shape [sequences + 1]: sequence s of q is the rows cuSeqlensQ[s] … cuSeqlensQ[s + 1]. No attention across a boundary. */
  cuSeqlensQ?: Int32Array | undefined;
  /** The same for k and v. Default cuSeqlensQ. */
  cuSeqlensKv?: Int32Array | undefined;
  /** Where to write, [batch, seqLenQ, numHeads, valueDim] in `layout`. Default a fresh Float32Array. */
  out?: Float32Array | Tensor | undefined;
  /** Where to write the logarithm of each softmax denominator, [batch, numHeads, seqLenQ] ([numHeads, totalQ] if packed); true = a fresh array. */
  lse?: boolean | Float32Array | Tensor | undefined;
}
