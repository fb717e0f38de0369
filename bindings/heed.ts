import { attentionWeights } from "./attention-weights/attention-weights.ts";
import type { WeightsOptions, WeightsResult } from "./attention-weights/options.ts";
import { type AttentionResult, attention, attentionAsync } from "./attention/attention.ts";
import { type MergeOptions, type MergeResult, type Part, merge } from "./attention/merge.ts";
import type { AttentionOptions } from "./attention/options.ts";
import { checkChoice, checkInteger } from "./check.ts";
import type { Kernels } from "./engine/abi.ts";
import { Instance } from "./engine/instance.ts";
import { INSTANCE } from "./engine/module.ts";
import type { Variant } from "./engine/kernels.ts";
import { KvCache } from "./kv-cache/kv-cache.ts";
import { CACHE_NAMES, type KvCacheOptions } from "./kv-cache/options.ts";
import type { BlockWeight, LinearWeights } from "./layer/linear-weights.ts";
import { type LinearOptions, type LinearResult, linear } from "./layer/linear.ts";
import { MultiHeadAttention } from "./layer/multi-head-attention.ts";
import { LAYER_NAMES, type MultiHeadAttentionOptions } from "./layer/options.ts";
import { type PackOptions, type PackedLinear, packLinear } from "./layer/packed-linear.ts";
import type { FloatRows } from "./memory/data.ts";
import type { Rows } from "./memory/output.ts";
import type { FloatDtype } from "./memory/float-types.ts";
import { Tensor } from "./memory/tensor.ts";
import { readOptions } from "./options.ts";
import type { AsyncOptions } from "./steps/run-async.ts";
import type { RotaryOptions, RotaryResult } from "./rotary/options.ts";
import { rotary } from "./rotary/rotary.ts";

/**
 * An instance: a linear memory, and the kernels that work on it. Instances share nothing. Made by `load` and
 * `loadSync`.
 *
 * @example
 * import { load } from "heed";
 *
 * const heed = await load();
 * const [numHeads, headDim, seqLen] = [12, 64, 128];
 * const rows = () => new Float32Array(seqLen * numHeads * headDim).fill(0.1);
 * const [q, k, v] = [rows(), rows(), rows()];
 * @category Loading
 */
export class Heed {
  /** The build: "relaxed" is faster, "simd" gives the same bits on every machine. @category Loading */
  readonly variant: Variant;
  readonly #instance: Instance;

  /** @internal Made by `load` and `loadSync`. */
  constructor(kernels: Kernels, memory: WebAssembly.Memory) {
    this.variant = kernels.isRelaxed() ? "relaxed" : "simd";
    this.#instance = new Instance(kernels, memory);
  }

  /** Why there is one thread although `load` was asked for more; else undefined. @category Loading */
  get threadsReason(): string | undefined {
    return this.#instance.threadsReason;
  }

  /** The threads that compute and live, the caller's among them: 1 unless `load` got more. @category Loading */
  get threads(): number {
    return this.#instance.pool?.threads ?? 1;
  }

  /**
   * Exact multi-head attention (https://arxiv.org/abs/1706.03762): out = softmax(scale·q·kᵀ, masked)·v for each head.
   * The scores never stand in memory as a whole (FlashAttention-2, https://arxiv.org/abs/2307.08691).
   *
   * @param q [batch, seqLenQ, numHeads, headDim], or as `layout` says. Each of q, k, v, bias and out may have 16 bits: a
   * Float16Array, `{ data: Uint16Array, dtype: "f16" | "bf16" }` or a Tensor; the bits are those of floats converted first.
   * @param k [batch, seqLenKv, numKvHeads, headDim]
   * @param v [batch, seqLenKv, numKvHeads, valueDim]
   * @returns `out` [batch, seqLenQ, numHeads, valueDim] and, on request, `lse` [batch, numHeads, seqLenQ]. A query that
   * sees no key has 0 in out and −Infinity in lse.
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value or where memory cannot
   * grow, ReferenceError for a disposed Tensor or instance. Then nothing has been written, and the instance still
   * works.
   * @example
   * const { out, lse } = heed.attention(q, k, v, { numHeads, headDim, causal: true, window: { left: 31 }, lse: true });
   * console.log(out.length, lse.length); // → 98304 1536
   * @category Attention
   */
  attention<
    const Out extends FloatRows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
  >(q: FloatRows, k: FloatRows, v: FloatRows, options: AttentionOptions<Out, Lse>): NoInfer<AttentionResult<Out, Lse>> {
    return attention(this.#instance, q, k, v, options) as NoInfer<AttentionResult<Out, Lse>>;
  }

  /**
   * {@link attention} that gives the thread back every `budgetMs` milliseconds, with the same bits. Arrays are copied
   * before the promise is returned, Tensors refuse `dispose` until it settles, and other calls may be made meanwhile.
   *
   * @throws as {@link attention}, and the reason of `signal`: the promise is rejected
   * @example
   * const { signal } = new AbortController();
   * const later = await heed.attentionAsync(q, k, v, { numHeads, headDim, causal: true, signal });
   * console.log(later.out.length); // → 98304
   * @category Attention
   */
  async attentionAsync<
    const Out extends FloatRows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
  >(
    q: FloatRows,
    k: FloatRows,
    v: FloatRows,
    options: AttentionOptions<Out, Lse> & AsyncOptions,
  ): Promise<NoInfer<AttentionResult<Out, Lse>>> {
    return (await attentionAsync(this.#instance, q, k, v, options)) as NoInfer<AttentionResult<Out, Lse>>;
  }

  /**
   * The attention weights, softmax(scale·q·kᵀ, masked), of chosen query rows and heads, in the memory of the result and
   * O(seqLenKv) more. A masked key has a weight of exactly 0; a query that sees no key has a row of zeros. A row sums to
   * 1, with sinks to 1 less the share of the sink. With an `lse` over more keys than k has, as `merge` returns it, it
   * sums to the share of the keys of k.
   *
   * @param q [batch, seqLenQ, numHeads, headDim], or as `layout` says
   * @param k [batch, seqLenKv, numKvHeads, headDim]
   * @returns `weights` [batch, heads, rows, seqLenKv], or as `reduce` and `topK` say; `indices` with topK; `entropy` on
   * request
   * @throws as {@link attention}
   * @example
   * // The three keys that the last query looks at most in head 7.
   * const options = { numHeads, headDim, causal: true, rows: [127], heads: [7], topK: 3 };
   * const { indices, weights } = heed.attentionWeights(q, k, options);
   * console.log(indices.length, weights.length); // → 3 3
   * @category Weights to look at
   */
  attentionWeights<
    const Weights extends Rows | undefined = undefined,
    const TopK extends number | undefined = undefined,
    const Entropy extends boolean | Rows | undefined = undefined,
  >(
    q: FloatRows,
    k: FloatRows,
    options: WeightsOptions<Weights, TopK, Entropy>,
  ): NoInfer<WeightsResult<Weights, TopK, Entropy>> {
    const result = attentionWeights(this.#instance, q, k, options);
    return result as NoInfer<WeightsResult<Weights, TopK, Entropy>>;
  }

  /**
   * Exact attention over split keys: merges what `attention` returned, with lse, for each part of the keys
   * (https://arxiv.org/abs/1805.02867, section 3.1). Their order shows in rounding alone, and a part may be merged from
   * parts itself. Pass sinks here, once, and not to the calls for the parts.
   *
   * @param parts at least one: `out`, which may have 16 bits, and `lse` of attention. Where lse is −Infinity, the row of
   * out is not read.
   * @returns `out` and `lse`, as `attention` over all keys returns them
   * @throws as {@link attention}
   * @example
   * const at = 100 * numHeads * headDim;
   * const options = { numHeads, headDim, lse: true } as const;
   * const first = heed.attention(q, k.subarray(0, at), v.subarray(0, at), options);
   * const second = heed.attention(q, k.subarray(at), v.subarray(at), options);
   * const { out } = heed.merge([first, second], { numHeads, headDim }); // as one attention over all 128
   * console.log(out.length); // → 98304
   * @category Split keys
   */
  merge<const Out extends FloatRows | undefined = undefined, const Lse extends true | Rows | undefined = undefined>(
    parts: readonly Part[],
    options: MergeOptions<Out, Lse>,
  ): NoInfer<MergeResult<Out, Lse>> {
    return merge(this.#instance, parts, options) as NoInfer<MergeResult<Out, Lse>>;
  }

  /**
   * Rotary position embedding of q or k (RoFormer, https://arxiv.org/abs/2104.09864): in a row at position p, pair j is
   * rotated by the angle p·base^(−2j / rotaryDim), or p·frequencies[j], or by the angle whose cosine and sine are in row
   * p of the tables. Pair j is float j of the first half of rotaryDim with float j of the second half (GPT-NeoX, Llama
   * as exported). With `interleaved` it is floats 2j and 2j + 1 (RoFormer, GPT-J, Llama as trained). With `sections` a
   * row has positions on several axes, each of which turns some of the pairs (M-RoPE).
   *
   * @param x [batch, seqLen, numHeads, headDim], or as `layout` says. x, `cos`, `sin` and `out` may have 16 bits
   * @returns `out`, of the shape of x. With x as `out`, x is rotated in place. Each call computes the angles anew,
   * once for each distinct position: pass tables as Tensors where that takes too long.
   * @throws as {@link attention}, and a RangeError for a position outside the tables
   * @example
   * heed.rotary(q, { numHeads, headDim, positions: 100, out: q }); // in place, rows at positions 100 to 227
   * @category Rotary
   */
  rotary<const Out extends FloatRows | undefined = undefined>(
    x: FloatRows,
    options: RotaryOptions<Out>,
  ): NoInfer<RotaryResult<Out>> {
    return rotary(this.#instance, x, options) as NoInfer<RotaryResult<Out>>;
  }

  /**
   * The linear layer: out = act(x·Wᵀ + bias) + residual. The bits of a row do not depend on how many rows the call has. x,
   * weight, bias, `residual` and `out` may have 16 bits, in any mix: those read count as the floats that they stand for, and
   * `out` is rounded once.
   *
   * @param x [rows, inFeatures]
   * @param weight [outFeatures, inFeatures], or as `transposed` says; what `packLinear` returned is read in place
   * @param bias [outFeatures]
   * @returns `out` [rows, outFeatures], with a gate (`swiglu`, `geglu`, `geglu-tanh`) [rows, outFeatures / 2]
   * @throws as {@link attention}, and a ReferenceError for a disposed PackedLinear
   * @example
   * const weight = Float32Array.of(1, 0, 0, 1, 1, 1); // three features of two
   * const { out } = heed.linear(Float32Array.of(1, 2), weight, undefined, { inFeatures: 2 });
   * console.log(out); // → Float32Array(3) [ 1, 2, 3 ]
   * heed.linear(Float32Array.of(-1, 2), weight, undefined, { inFeatures: 2, activation: "relu", residual: out, out });
   * console.log(out); // → Float32Array(3) [ 1, 4, 4 ]
   * @category Layer and linear
   */
  linear<const Out extends FloatRows | undefined = undefined>(
    x: FloatRows,
    weight: Exclude<LinearWeights["weight"], BlockWeight> | PackedLinear,
    bias?: LinearWeights["bias"],
    options: LinearOptions<Out> = {},
  ): NoInfer<LinearResult<Out>> {
    return linear(this.#instance, x, weight, bias, options) as NoInfer<LinearResult<Out>>;
  }

  /**
   * Packs a weight, with its bias if there is one, once for all later calls of `linear`; as f32, or as int8 or int4
   * (`dtype`). A weight of 16 bits is read as it is, some features at a time.
   *
   * @param weight [outFeatures, inFeatures], or as `transposed` says; or blocks of GGUF, `{ data, dtype: "q8_0" | "q4_0"
   * }`, whose inFeatures are a multiple of 32
   * @param bias [outFeatures]
   * @throws as {@link attention}, and a RangeError for values that are not finite where they become int8 or int4
   * @example
   * const packed = heed.packLinear(new Float32Array(768 * 64), new Float32Array(64)); // [64, 768] and its bias
   * const { out } = heed.linear(q, packed); // 128 rows of 768
   * const { bytes } = heed.packLinear(new Float32Array(768 * 64), undefined, { inFeatures: 768, dtype: "int8" });
   * console.log(out.length, bytes / packed.bytes < 0.27); // → 8192 true
   * @category Layer and linear
   */
  packLinear(weight: LinearWeights["weight"], bias?: LinearWeights["bias"], options: PackOptions = {}): PackedLinear {
    return packLinear(this.#instance, weight, bias, options);
  }

  /**
   * Floats in linear memory, zero at first. Where a Float32Array is expected, pass a Tensor, and nothing is copied. A
   * Tensor of "f16" or "bf16" has the bits of its floats as `data`, a Uint16Array in every engine.
   *
   * @param dtype "f32", "f16" (IEEE 754 binary16) or "bf16" (bfloat16)
   * @throws as {@link attention}
   * @example
   * const x = heed.tensor(seqLen * numHeads * headDim);
   * const out = heed.tensor(x.length);
   * x.data.set(q);
   * heed.attention(x, x, x, { numHeads, headDim, out }); // nothing is copied in or out
   * console.log(out.data.length); // → 98304
   * const half = heed.tensor(x.length, "bf16"); // two bytes each, rounded as they are written
   * heed.attention(x, x, x, { numHeads, headDim, out: half });
   * console.log(half.data instanceof Uint16Array); // → true
   * @category Memory
   */
  tensor<const Dtype extends FloatDtype = "f32">(length: number, dtype?: Dtype): Tensor<Dtype> {
    const type = dtype === undefined ? "f32" : checkChoice<FloatDtype>("dtype", dtype, ["f32", "f16", "bf16"]);
    return Tensor.allocate(this.#instance.arena, checkInteger("length", length, 0), type) as Tensor<Dtype>;
  }

  /**
   * A KV cache: K and V are stored in linear memory once, as f32, f16 or int8, and read in place by every later call.
   *
   * @throws as {@link attention}
   * @example
   * const cache = heed.createKvCache({ numKvHeads: 12, headDim, capacity: 4096, dtype: "f16" });
   * cache.append(k, v);
   * const { out } = cache.attention(q, { numHeads, causal: true });
   * console.log(cache.length, out.length); // → 128 98304
   * @category KV cache
   */
  createKvCache(options: KvCacheOptions): KvCache {
    return new KvCache(this.#instance, readOptions("createKvCache", options, CACHE_NAMES));
  }

  /**
   * A KV cache out of what `KvCache.save` wrote, here or in another instance or host. With several saves, each continues
   * those before it: it takes the place of all tokens from its first one on.
   *
   * @param bytes a save, or an array: a save, and those that were made with `from` after it
   * @throws as {@link attention}, and a RangeError for bytes that were cut, changed, or never saved. Nothing is allocated
   * then.
   * @example
   * const earlier = heed.createKvCache({ numKvHeads: 12, headDim, capacity: 4096 });
   * earlier.append(k, v);
   * const bytes = earlier.save();
   * const later = heed.restoreKvCache(bytes);
   * console.log(later.length); // → 128
   * @category KV cache
   */
  restoreKvCache(bytes: Uint8Array | readonly Uint8Array[]): KvCache {
    return KvCache.restore(this.#instance, bytes);
  }

  /**
   * A whole attention layer, see {@link MultiHeadAttention}. The weights are packed once.
   *
   * @throws as {@link attention}
   * @example
   * const square = { weight: new Float32Array(768 * 768), bias: new Float32Array(768) };
   * const weights = { q: square, k: square, v: square, out: square };
   * const layer = heed.createMultiHeadAttention({ embedDim: 768, numHeads, weights });
   * console.log(layer.forward(q).out.length); // → 98304
   * @category Layer and linear
   */
  createMultiHeadAttention(options: MultiHeadAttentionOptions): MultiHeadAttention {
    return new MultiHeadAttention(this.#instance, readOptions("createMultiHeadAttention", options, LAYER_NAMES));
  }

  /** @internal For entries of the package that bring a wasm module of their own. */
  get [INSTANCE](): Instance {
    return this.#instance;
  }

  /**
   * Bytes in use now, the most bytes in use at any time so far, and the bytes of the linear memory. @category Memory
   */
  get memory(): { used: number; peak: number; reserved: number } {
    return this.#instance.arena.stats;
  }

  /**
   * Gives up the memory. Calling it again does nothing; any other use, also of Tensors, caches and layers, throws a
   * ReferenceError. Asynchronous calls end with one.
   *
   * @example
   * heed.dispose(); // or `using heed = await load()`
   * @category Memory
   */
  dispose(): void {
    this.#instance.pool?.dispose();
    this.#instance.arena.dispose();
  }

  /** As {@link dispose}, at the end of a block with `using`. @category Memory */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
