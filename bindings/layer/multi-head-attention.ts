import { attentionWeights } from "../attention-weights/attention-weights.ts";
import type { WeightsResult } from "../attention-weights/options.ts";
import { type AttentionResult, attention } from "../attention/attention.ts";
import { wrongKind } from "../check.ts";
import { BLOCK_ROWS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { KvCache } from "../kv-cache/kv-cache.ts";
import type { KvCacheOptions } from "../kv-cache/options.ts";
import type { Arena } from "../memory/arena.ts";
import { CallScope } from "../memory/call-scope.ts";
import { type Floats, checkFloats } from "../memory/data.ts";
import { Output, type Written } from "../memory/output.ts";
import { Tensor } from "../memory/tensor.ts";
import { rotary } from "../rotary/rotary.ts";
import { type Forward, type ForwardOptions, type LayerWeights, checkForward } from "./forward.ts";
import { PackedLinear } from "./linear.ts";
import {
  type LayerDefaults,
  type LayerDims,
  type LayerRotary,
  type MultiHeadAttentionOptions,
  type MultiHeadWeights,
  checkBias,
  checkDims,
  checkLayerRotary,
  checkWeights,
} from "./options.ts";

/** What `forward` returns. */
export type ForwardResult<O extends ForwardOptions = ForwardOptions> = Omit<AttentionResult<O>, "out"> & {
  /** [batch, seqLenQ, outDim]; without an out-projection [batch, seqLenQ, numHeads, valueDim]. */
  out: Written<O["out"]>;
} & (O["weights"] extends true
    ? WeightsResult<NoChoice>
    : O["weights"] extends LayerWeights
      ? WeightsResult<O["weights"]>
      : Partial<WeightsResult>);

interface NoChoice {
  weights?: undefined;
  topK?: undefined;
  entropy?: undefined;
}

const NO_FLOATS = new Float32Array(0);

/**
 * The layer of transformers: q, k and v are projected from x (k and v from a context in cross-attention), attended with head by head, and
 * projected back (Attention Is All You Need, Vaswani et al., https://arxiv.org/abs/1706.03762). Made by `heed.createMultiHeadAttention`.
 */
export class MultiHeadAttention implements LayerDims {
  readonly embedDim: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  /** Floats in a row of what k, and what v, is projected from. */
  readonly kvDim: { k: number; v: number };
  readonly outDim: number;
  readonly #instance: Instance;
  readonly #bias: boolean | undefined;
  readonly #rotary: LayerRotary | undefined;
  readonly #defaults: LayerDefaults;
  /** The tables of rotary, where it brings them as arrays. */
  readonly #tables: Tensor[] = [];
  /** q, k, v and, where there is one, out. */
  #packed: PackedLinear[] | undefined;
  #disposed = false;

  /** @internal */
  constructor(instance: Instance, options: MultiHeadAttentionOptions) {
    instance.arena.check();
    const dims = checkDims(options);
    const { numHeads, numKvHeads, headDim, valueDim } = dims;
    this.embedDim = dims.embedDim;
    this.numHeads = numHeads;
    this.numKvHeads = numKvHeads;
    this.headDim = headDim;
    this.valueDim = valueDim;
    this.kvDim = dims.kvDim;
    this.outDim = dims.outDim;
    this.#instance = instance;
    this.#bias = checkBias(options.bias);
    const { scale, causal, window, softcap, alibiSlopes, sinks } = options;
    this.#defaults = { scale, causal, window, softcap, alibiSlopes, sinks };
    attention(instance, NO_FLOATS, NO_FLOATS, NO_FLOATS, {
      ...this.#defaults,
      numHeads,
      numKvHeads,
      headDim,
      valueDim,
    });
    this.#rotary = checkLayerRotary(options.rotary);
    if (this.#rotary) rotary(instance, NO_FLOATS, { ...this.#rotary, numHeads, headDim });
    try {
      this.#rotary = this.#rotary && this.#resident(this.#rotary);
      if (options.weights) this.setWeights(options.weights);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Packs other weights of the same sizes, instead of those that the layer had.
   *
   * @throws TypeError for the wrong kind, RangeError for a wrong size or where memory cannot grow; the layer keeps its weights then
   */
  setWeights(weights: MultiHeadWeights): void {
    this.#check();
    const checked = checkWeights(this.#instance.arena, weights, this, this.#bias);
    const packed: PackedLinear[] = [];
    try {
      for (const weight of checked) if (weight) packed.push(new PackedLinear(this.#instance, weight));
    } catch (error) {
      for (const one of packed) one.dispose();
      throw error;
    }
    for (const old of this.#packed ?? []) old.dispose();
    this.#packed = packed;
  }

  /** Bytes of linear memory that the layer holds. */
  get bytes(): number {
    this.#check();
    const tables = this.#tables.reduce((sum, { length }) => sum + length * 4, 0);
    return (this.#packed ?? []).reduce((sum, { bytes }) => sum + bytes, tables);
  }

  /** A KV cache of the sizes of this layer, see `Heed.createKvCache`. */
  createCache(options: Omit<KvCacheOptions, "numKvHeads" | "headDim" | "valueDim">): KvCache {
    this.#check();
    const { numKvHeads, headDim, valueDim } = this;
    return new KvCache(this.#instance, { ...options, numKvHeads, headDim, valueDim });
  }

  /**
   * Projects, attends and projects back. Everything between x and out stays in linear memory.
   *
   * @param x [batch, seqLenQ, embedDim]
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value, past the capacity of the cache or where
   * memory cannot grow, ReferenceError for what is disposed. Nothing is written then, the cache has the tokens that it had, and the
   * instance works on.
   */
  forward<const O extends ForwardOptions = { out?: undefined }>(
    x: Float32Array | Tensor,
    options: O = {} as O,
  ): ForwardResult<O> {
    this.#check();
    if (!this.#packed) throw wrongKind("weights", "weights given to the layer, by setWeights", undefined);
    const call = checkForward(this.#instance.arena, x, options, this, this.#defaults, this.#rotary !== undefined);
    return this.#run(call, this.#packed, options) as ForwardResult<O>;
  }

  /** Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const own of [...this.#tables, ...(this.#packed ?? [])]) own.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #check(): void {
    if (this.#disposed) throw new ReferenceError('"layer" expected a live MultiHeadAttention, got a disposed one');
    this.#instance.arena.check();
  }

  /** Copy in, project, turn, attend, project, copy out, release. */
  #run(call: Forward, packed: PackedLinear[], options: ForwardOptions): object {
    const { arena, kernels } = this.#instance;
    const { numHeads, numKvHeads, headDim, valueDim } = this;
    const { x, kSource, vSource, batch, rowsQ, rowsKv, weights } = call;
    const [qLinear, kLinear, vLinear, outLinear] = packed as [PackedLinear, PackedLinear, PackedLinear, PackedLinear?];
    const rows = batch * rowsQ;
    const headsLength = rows * numHeads * valueDim;
    const outLength = outLinear ? rows * outLinear.outFeatures : headsLength;
    const out = Output.required(arena, "out", options.out, outLength, "batch × seqLenQ × outDim");
    const lse = Output.optional(arena, "lse", options.lse, rows * numHeads, "batch × numHeads × seqLenQ");
    const places = { weights: placeOf(arena, weights?.weights), entropy: placeOf(arena, weights?.entropy) };
    out.checkApartFrom({ lse: lse.place, ...places });
    lse.checkApartFrom(places);

    const scope = new CallScope(arena);
    const room = (length: number): Tensor => new Tensor(arena, length, scope.reserve(length * 4));
    try {
      const xPtr = scope.input(x);
      const kPtr = kSource === x ? xPtr : scope.input(kSource);
      const vPtr = vSource === kSource ? kPtr : scope.input(vSource);
      const q = room(rows * numHeads * headDim);
      const k = room(batch * rowsKv * numKvHeads * headDim);
      const v = room(batch * rowsKv * numKvHeads * valueDim);
      // What attention gives stays here until nothing can fail any more.
      const heads = room(headsLength);
      const ofLse = lse.place || options.lse === true || weights ? room(rows * numHeads) : undefined;
      const scratch = scope.reserve(kernels.linearScratchBytes());
      const outPtr = out.reserve(scope);
      const lsePtr = lse.reserve(scope);

      const jobs = [{ linear: qLinear, from: xPtr, to: q, rows }];
      if (kSource) jobs.push({ linear: kLinear, from: kPtr, to: k, rows: batch * rowsKv });
      if (vSource) jobs.push({ linear: vLinear, from: vPtr, to: v, rows: batch * rowsKv });
      this.#project(jobs, scratch);
      if (this.#rotary) {
        const turned = { ...this.#rotary, headDim, batch };
        rotary(this.#instance, q, { ...turned, numHeads, positions: call.positions, out: q });
        if (kSource) rotary(this.#instance, k, { ...turned, numHeads: numKvHeads, positions: call.kPositions, out: k });
      }
      const seen = this.#attend(call, q, k, v, heads, ofLse);
      if (outLinear) this.#project([{ linear: outLinear, from: heads, to: outPtr, rows }], scratch);
      else copy(arena, outPtr, heads);
      if (lsePtr && ofLse) copy(arena, lsePtr, ofLse);
      const writtenLse = lse.take();
      return { out: out.take()!, ...(writtenLse && { lse: writtenLse }), ...seen };
    } finally {
      scope.release();
    }
  }

  /** heads = attention of q over k and v, or over the cache to which they are appended; and what was asked of the weights. */
  #attend(call: Forward, q: Tensor, k: Tensor, v: Tensor, heads: Tensor, lse: Tensor | undefined): object | undefined {
    const { numHeads, numKvHeads, headDim, valueDim } = this;
    const { cache, batch, lengths, weights, kSource } = call;
    const options = { ...call.attention, numHeads };
    const results = { out: heads, lse };
    // The stages before the softmax need no denominator.
    const chosen = weights && {
      ...options,
      ...weights,
      lse: (weights.stage ?? "softmax") === "softmax" ? lse : undefined,
    };
    if (!cache) {
      const dims = { numKvHeads, headDim, valueDim, batch };
      attention(this.#instance, q, k, v, { ...options, ...dims, ...results });
      return chosen && attentionWeights(this.#instance, q, k, { ...chosen, ...dims });
    }
    const before = cache.lengths;
    if (kSource) cache.append(k, v, { lengths });
    try {
      cache.attention(q, { ...options, ...results });
      return chosen && cache.attentionWeights(q, chosen);
    } catch (error) {
      cache.truncate(before);
      throw error;
    }
  }

  /** to = from·Wᵀ + bias for each job, block by block of rows: what is projected from the same rows finds them in the cache. */
  #project(
    jobs: { linear: PackedLinear; from: number | Tensor; to: number | Tensor; rows: number }[],
    scratch: number,
  ) {
    const { arena, kernels, useTile6x2 } = this.#instance;
    const ptrOf = (place: number | Tensor): number => (typeof place === "number" ? place : place.ptrIn(arena, "x"));
    const most = Math.max(...jobs.map(({ rows }) => rows));
    for (let start = 0; start < most; start += BLOCK_ROWS) {
      for (const { linear, from, to, rows } of jobs) {
        const { inFeatures, outFeatures } = linear;
        const { panels, bias } = linear.placesIn(arena, "weights");
        const [outRow, xRow] = [outFeatures * 4, inFeatures * 4];
        const count = Math.min(BLOCK_ROWS, rows - start);
        if (count <= 0) continue;
        const [toPtr, fromPtr] = [ptrOf(to) + start * outRow, ptrOf(from) + start * xRow];
        const dims = [count, inFeatures, outFeatures, outRow, xRow] as const;
        kernels.linear(toPtr, fromPtr, panels, bias?.ptr ?? 0, scratch, ...dims, useTile6x2);
      }
    }
  }

  /** The tables of rotary as Tensors of the layer's own, so that no call copies them. */
  #resident(given: LayerRotary): LayerRotary {
    const own = { ...given };
    for (const name of ["cos", "sin"] as const) {
      const table = given[name];
      if (table === undefined) continue;
      const tensor = Tensor.allocate(this.#instance.arena, table.length);
      this.#tables.push(tensor);
      tensor.data.set(table instanceof Tensor ? table.data : table);
      own[name] = tensor;
    }
    return own;
  }
}

/** Where a result is to go, if it is given a place. */
function placeOf(arena: Arena, target: unknown): Floats | undefined {
  return target instanceof Tensor || target instanceof Float32Array ? checkFloats("weights", target, arena) : undefined;
}

function copy(arena: Arena, to: number, from: Tensor): void {
  new Float32Array(arena.buffer, to, from.length).set(from.data);
}
