import { attentionWeights } from "./attention-weights/attention-weights.ts";
import type { WeightsOptions, WeightsResult } from "./attention-weights/options.ts";
import { type AttentionResult, attention } from "./attention/attention.ts";
import { type MergeOptions, type MergeResult, type Part, merge } from "./attention/merge.ts";
import type { AttentionOptions } from "./attention/options.ts";
import { checkInteger } from "./check.ts";
import { isRecent } from "./engine/features.ts";
import type { Instance } from "./engine/instance.ts";
import type { Kernels, Variant } from "./engine/kernels.ts";
import { KvCache } from "./kv-cache/kv-cache.ts";
import type { KvCacheOptions } from "./kv-cache/options.ts";
import type { LinearWeights } from "./layer/linear-weights.ts";
import {
  type LinearOptions,
  type LinearResult,
  type PackedLinear,
  type WeightOptions,
  linear,
  packLinear,
} from "./layer/linear.ts";
import { MultiHeadAttention } from "./layer/multi-head-attention.ts";
import type { MultiHeadAttentionOptions } from "./layer/options.ts";
import { Arena } from "./memory/arena.ts";
import { Tensor } from "./memory/tensor.ts";
import type { RotaryOptions, RotaryResult } from "./rotary/options.ts";
import { rotary } from "./rotary/rotary.ts";

/** One instance: a linear memory and the kernels that work on it. Instances share nothing. */
export class Heed {
  /** The build that runs: "relaxed" has fused multiply-add, "simd" gives the same bits on every machine. */
  readonly variant: Variant;
  readonly #instance: Instance;

  /** @internal Made by `load` and `loadSync`. */
  constructor(kernels: Kernels, memory: WebAssembly.Memory) {
    const arena = new Arena(memory, kernels.heapBase());
    const constants = arena.allocate(kernels.constantBytes());
    kernels.writeConstants(constants);
    this.variant = kernels.isRelaxed() ? "relaxed" : "simd";
    this.#instance = { kernels, arena, constants, tall: isRecent() };
  }

  /**
   * Exact multi-head attention: out = softmax(scale·q·kᵀ, masked)·v, head by head, without ever holding the scores in memory
   * (FlashAttention-2, https://arxiv.org/abs/2307.08691).
   *
   * @param q [batch, seqLenQ, numHeads, headDim], or as `layout` says
   * @param k [batch, seqLenKv, numKvHeads, headDim]
   * @param v [batch, seqLenKv, numKvHeads, valueDim]
   * @returns `out` [batch, seqLenQ, numHeads, valueDim] and, where asked for, `lse` [batch, numHeads, seqLenQ]. A query that sees no
   * key gets 0, and −Infinity in lse.
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value or where memory cannot grow,
   * ReferenceError for a disposed Tensor or instance. Nothing is written then, and the instance works on.
   */
  attention<const O extends AttentionOptions>(
    q: Float32Array | Tensor,
    k: Float32Array | Tensor,
    v: Float32Array | Tensor,
    options: O,
  ): AttentionResult<O> {
    return attention(this.#instance, q, k, v, options) as AttentionResult<O>;
  }

  /**
   * The attention weights themselves, softmax(scale·q·kᵀ, masked), for chosen query rows and heads. Memory is that of the answer and
   * O(seqLenKv): k is read where it stands, or copied in piece by piece, q only in the chosen rows.
   *
   * A masked key gets exactly 0, a query that sees no key a row of zeros. Rows sum to 1; with sinks to 1 less the sink's share; with
   * an `lse` of more keys than these, as `merge` gives it, to the share of these keys.
   *
   * @param q [batch, seqLenQ, numHeads, headDim], or as `layout` says
   * @param k [batch, seqLenKv, numKvHeads, headDim]
   * @returns `weights` [batch, heads, rows, seqLenKv], or as `reduce` and `topK` say; `indices` with topK; `entropy` where asked for
   * @throws as {@link attention}
   */
  attentionWeights<const O extends WeightsOptions>(
    q: Float32Array | Tensor,
    k: Float32Array | Tensor,
    options: O,
  ): WeightsResult<O> {
    return attentionWeights(this.#instance, q, k, options) as WeightsResult<O>;
  }

  /**
   * Exact attention over keys that were split: merges what `attention` gave, with lse, for each part of them. In any order, and of parts
   * that are merged themselves, up to rounding. Sinks are given once, here, and not to the parts.
   *
   * @param parts at least one; out [batch, seqLenQ, numHeads, valueDim], or as `layout` says, and lse [batch, numHeads, seqLenQ]. A part
   * whose lse is −Infinity saw no key, and its out is not read. May be Tensors, and those of one part the targets too.
   * @returns `out` and `lse`, as `attention` over all keys gives them
   * @throws as {@link attention}
   */
  merge<const O extends MergeOptions>(parts: readonly Part[], options: O): MergeResult<O> {
    return merge(this.#instance, parts, options) as MergeResult<O>;
  }

  /**
   * Rotary position embedding of q or k: pair j of a row at position p turns by p·base^(−2j / rotaryDim), or by the angle whose cosine
   * and sine stand in row p of the tables (RoFormer, Su et al., https://arxiv.org/abs/2104.09864). A pair is float j of the first half
   * of rotaryDim with float j of the second half (GPT-NeoX, Llama as exported), or floats 2j and 2j + 1 with `interleaved` (RoFormer,
   * GPT-J, Llama as trained).
   *
   * @param x [batch, seqLen, numHeads, headDim], or as `layout` says
   * @returns `out` of the same shape. With x as `out` it is rotated in place; a Tensor then without any copy. The angles of `base` are
   * computed at each call, for each distinct position once: give tables as Tensors where that is too much.
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value, a position outside the tables, or where
   * memory cannot grow, ReferenceError for a disposed Tensor or instance. Nothing is written then, and the instance works on.
   */
  rotary<const O extends RotaryOptions>(x: Float32Array | Tensor, options: O): RotaryResult<O> {
    return rotary(this.#instance, x, options) as RotaryResult<O>;
  }

  /**
   * The linear layer: out = x·Wᵀ + bias. A row has the same bits whatever the number of rows beside it.
   *
   * @param x [rows, inFeatures]
   * @param weight [outFeatures, inFeatures], or as `transposed` says; packed by `packLinear`, it is read as it stands
   * @param bias [outFeatures]
   * @returns `out` [rows, outFeatures]
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value or where memory cannot grow,
   * ReferenceError for what is disposed. Nothing is written then, and the instance works on.
   */
  linear<const O extends LinearOptions = { out?: undefined }>(
    x: Float32Array | Tensor,
    weight: LinearWeights["weight"] | PackedLinear,
    bias?: LinearWeights["bias"],
    options: O = {} as O,
  ): LinearResult<O> {
    return linear(this.#instance, x, weight, bias, options) as LinearResult<O>;
  }

  /**
   * A weight, and its bias if there is one, packed once for all later calls of `linear`.
   *
   * @param weight [outFeatures, inFeatures], or as `transposed` says
   * @param bias [outFeatures]
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or where memory cannot grow
   */
  packLinear(weight: LinearWeights["weight"], bias?: LinearWeights["bias"], options: WeightOptions = {}): PackedLinear {
    return packLinear(this.#instance, weight, bias, options);
  }

  /**
   * Floats in linear memory, zero at first: pass it where a Float32Array is expected and nothing is copied.
   *
   * @throws RangeError for a length that is no integer of at least 0, or where memory cannot grow
   */
  tensor(length: number): Tensor {
    return Tensor.allocate(this.#instance.arena, checkInteger("length", length, 0));
  }

  /**
   * A KV cache in linear memory: K and V go in once, as f32, f16 or int8, and are read where they stand.
   *
   * @throws TypeError or RangeError for wrong options
   */
  createKvCache(options: KvCacheOptions): KvCache {
    return new KvCache(this.#instance, options);
  }

  /**
   * The whole layer: projections, attention and the projection back, see {@link MultiHeadAttention}. Weights are packed once.
   *
   * @throws TypeError for an option of the wrong kind, RangeError for a wrong size or value or where memory cannot grow
   */
  createMultiHeadAttention(options: MultiHeadAttentionOptions): MultiHeadAttention {
    return new MultiHeadAttention(this.#instance, options);
  }

  /** Bytes handed out now, bytes handed out at most so far, bytes that the linear memory has. */
  get memory(): { used: number; peak: number; reserved: number } {
    return this.#instance.arena.stats;
  }

  /** Lets go of the memory. Calling it again does nothing; any other use throws a ReferenceError, its tensors' too. */
  dispose(): void {
    this.#instance.arena.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
