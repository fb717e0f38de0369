import { attentionWeights } from "../attention-weights/attention-weights.ts";
import { attention } from "../attention/attention.ts";
import { checkProblem, checkQueries } from "../attention/problem.ts";
import { checkBoolean, disposed, wrongKind } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import { KvCache } from "../kv-cache/kv-cache.ts";
import { type KvCacheOptions, STORE_NAMES } from "../kv-cache/options.ts";
import { type Arena, floatsAt } from "../memory/arena.ts";
import { CallScope } from "../memory/call-scope.ts";
import { Output, type Rows, checkApart, optionalOutput } from "../memory/output.ts";
import { Tensor } from "../memory/tensor.ts";
import { type Names, readOptions, record } from "../options.ts";
import { rotary } from "../rotary/rotary.ts";
import { FORWARD_NAMES, type ForwardOptions, type ForwardResult } from "./forward-options.ts";
import { type ForwardCall, checkForward } from "./forward.ts";
import { PackedLinear } from "./linear.ts";
import {
  type LayerDefaults,
  DEFAULT_NAMES,
  type LayerDims,
  type LayerRotary,
  type MultiHeadAttentionOptions,
  type MultiHeadWeights,
  WEIGHTS_NAMES,
  checkDims,
  checkSwitch,
  checkWeights,
  withOwnTables,
} from "./options.ts";
import { type Projection, project } from "./projections.ts";

/**
 * The multi-head attention layer of a transformer: projects x to q, k and v (in cross-attention k and v from a
 * context), attends head by head, and projects the heads back (Attention Is All You Need, Vaswani et al.,
 * https://arxiv.org/abs/1706.03762). Made by `heed.createMultiHeadAttention`.
 *
 * @example
 * import { load } from "heed";
 *
 * const heed = await load();
 * const [embedDim, numHeads] = [8, 2];
 * const square = { weight: new Float32Array(embedDim * embedDim) };
 * const weights = { q: square, k: square, v: square, out: square };
 * const layer = heed.createMultiHeadAttention({ embedDim, numHeads, causal: true, weights });
 * const rows = (tokens: number) => new Float32Array(tokens * embedDim);
 * @category Layer and linear
 */
export class MultiHeadAttention implements LayerDims {
  // `declare`: the constructor assigns the sizes all at once.
  declare readonly embedDim: number;
  declare readonly numHeads: number;
  declare readonly numKvHeads: number;
  declare readonly headDim: number;
  declare readonly valueDim: number;
  /** Floats in a row from which k is projected, and in one from which v is. */
  declare readonly kvDim: { k: number; v: number };
  declare readonly outDim: number;
  readonly #instance: Instance;
  /** Whether every projection must have a bias, or none may. */
  readonly #biasRule: boolean | undefined;
  readonly #rotary: LayerRotary | undefined;
  /** With the sizes of the layer. Inherits nothing, like the options of a call. */
  readonly #defaults: LayerDefaults;
  /** Copies of the tables of rotary in linear memory, where it has tables. */
  readonly #tables: Tensor[] = [];
  /** The projections q, k, v and, where there is one, out; undefined until there are weights. */
  #packed: PackedLinear[] | undefined;
  #disposed = false;

  /** @internal `options` have been read. */
  constructor(instance: Instance, options: MultiHeadAttentionOptions) {
    const { arena } = instance;
    arena.check();
    this.#instance = instance;
    Object.assign(this, checkDims(options));
    Object.freeze(this.kvDim);
    const { bias, rotary } = options;
    this.#biasRule = bias === undefined ? undefined : checkBoolean("bias", bias);
    // The sizes and the defaults are checked as options of a call without rows.
    const defaults: LayerDefaults & LayerDims = record(this as LayerDims);
    for (const name in DEFAULT_NAMES) Object.assign(defaults, { [name]: options[name as keyof LayerDefaults] });
    checkProblem(arena, defaults, checkQueries(arena, new Float32Array(0), defaults), 0);
    this.#defaults = defaults;
    this.#rotary = checkSwitch("rotary", rotary);
    try {
      if (this.#rotary) this.#rotary = withOwnTables(arena, this.#rotary, this.headDim, this.#tables);
      if (options.weights !== undefined) this.#pack(options.weights);
    } catch (error) {
      this.dispose();
      throw error;
    }
    Object.freeze(this);
  }

  /**
   * Packs weights of the sizes of the layer, in place of those that it had.
   *
   * @throws TypeError for the wrong kind, RangeError for a wrong size or where memory cannot grow, ReferenceError after
   * `dispose`. The layer keeps the weights that it had then.
   * @example
   * layer.setWeights(weights); // those of the model's next layer, in the same memory
   */
  setWeights(weights: MultiHeadWeights): void {
    this.#pack(readOptions("weights", weights, WEIGHTS_NAMES, "weights"));
  }

  /** {@link setWeights} of weights that have been read. */
  #pack(weights: MultiHeadWeights): void {
    this.#check();
    const checked = checkWeights(this.#instance.arena, weights, this, this.#biasRule);
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

  /** Bytes of linear memory that the weights and the tables of rotary take. */
  get bytes(): number {
    this.#check();
    const tables = this.#tables.reduce((sum, { length }) => sum + length * 4, 0);
    return (this.#packed ?? []).reduce((sum, { bytes }) => sum + bytes, tables);
  }

  /**
   * A KV cache with the sizes of this layer, see `Heed.createKvCache`. The default of its `window` is the left side of
   * the layer's window; Infinity gives a cache without one.
   *
   * @throws TypeError or RangeError for wrong options, ReferenceError after `dispose`
   * @example
   * const cache = layer.createCache({ capacity: 1024 });
   * layer.forward(rows(5), { cache }); // the prompt
   * layer.forward(rows(1), { cache }); // a token after it
   * console.log(cache.length); // → 6
   */
  createCache(options: Omit<KvCacheOptions, "numKvHeads" | "headDim" | "valueDim">): KvCache {
    const read = readOptions("createCache", options, STORE_NAMES as Names<typeof options>);
    this.#check();
    const { window = this.#defaults.window?.left } = read;
    return new KvCache(this.#instance, record(this as LayerDims, read, { window }));
  }

  /**
   * Projects x to q, k and v, attends, and projects back. All that lies between x and out stays in linear memory.
   *
   * @param x [batch, seqLenQ, embedDim]
   * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value, past the capacity of the
   * cache or where memory cannot grow, ReferenceError for what is disposed. Then nothing is written, the cache has the
   * tokens that it had, and the instance can be used as before.
   * @example
   * const { out, weights: seen } = layer.forward(rows(5), { weights: true });
   * console.log(out.length, seen.length); // → 40 50
   */
  forward<
    const Out extends Rows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
    const All extends boolean | undefined = false,
    const Weights extends Rows | undefined = undefined,
    const TopK extends number | undefined = undefined,
    const Entropy extends boolean | Rows | undefined = undefined,
  >(
    x: Float32Array | Tensor,
    options: ForwardOptions<Out, Lse, All, Weights, TopK, Entropy> = {},
  ): NoInfer<ForwardResult<Out, Lse, All, Weights, TopK, Entropy>> {
    const read = readOptions("forward", options as ForwardOptions, FORWARD_NAMES);
    this.#check();
    if (!this.#packed) throw wrongKind("weights", "weights given to the layer, by setWeights", undefined);
    const call = checkForward(this.#instance.arena, x, read, this, this.#defaults, this.#rotary !== undefined);
    return this.#run(call, this.#packed, read) as NoInfer<ForwardResult<Out, Lse, All, Weights, TopK, Entropy>>;
  }

  /**
   * Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError.
   *
   * @example
   * layer.dispose(); // or `using layer = heed.createMultiHeadAttention(…)`
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const own of [...this.#tables, ...(this.#packed ?? [])]) own.dispose();
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Throws a ReferenceError once the layer or its instance is disposed. */
  #check(): void {
    if (this.#disposed) throw disposed("layer", "MultiHeadAttention");
    this.#instance.arena.check();
  }

  /** A checked call: copy in, project, rotate, attend, project back, copy out, release. */
  #run(call: ForwardCall, packed: PackedLinear[], options: ForwardOptions): object {
    const { arena, kernels } = this.#instance;
    const { numHeads, numKvHeads, headDim, valueDim } = this;
    const { x, kSource, vSource, batch, rowsQ, rowsKv, weights, cache, lengths } = call;
    const [qLinear, kLinear, vLinear, outLinear] = packed as [PackedLinear, PackedLinear, PackedLinear, PackedLinear?];
    const rows = batch * rowsQ;
    const headsLength = rows * numHeads * valueDim;
    const outLength = outLinear ? rows * outLinear.outFeatures : headsLength;
    const out = new Output(arena, "out", options.out, outLength, "batch × seqLenQ × outDim");
    const lse = optionalOutput(arena, "lse", options.lse, rows * numHeads, "batch × numHeads × seqLenQ");
    const targets = { weights: weights?.weights, entropy: weights?.entropy, indices: weights?.indices };
    // These two are written when everything has been read, so they may lie over inputs.
    checkApart(arena, { out: options.out, lse: options.lse, ...targets });

    const scope = new CallScope(arena);
    const reserve = (length: number): Tensor => new Tensor(arena, length, scope.reserve(length * 4));
    const addressOf = (tensor: Tensor): number => tensor.ptrIn(arena, "x");
    try {
      const xPtr = scope.input(x);
      const kPtr = kSource === x ? xPtr : scope.input(kSource);
      const vPtr = vSource === kSource ? kPtr : scope.input(vSource);
      const q = reserve(rows * numHeads * headDim);
      const k = reserve(batch * rowsKv * numKvHeads * headDim);
      const v = reserve(batch * rowsKv * numKvHeads * valueDim);
      // The outputs of attention stay in the scope until nothing can fail any more.
      const heads = reserve(headsLength);
      const scratch = scope.reserve(kernels.linearScratchBytes());
      const outPtr = out.reserve(scope);
      const lsePtr = lse.reserve(scope);
      const headsLse = lsePtr || weights ? reserve(rows * numHeads) : undefined;

      const projections: Projection[] = [{ linear: qLinear, x: xPtr, out: addressOf(q), rows }];
      if (kSource) projections.push({ linear: kLinear, x: kPtr, out: addressOf(k), rows: batch * rowsKv });
      if (vSource) projections.push({ linear: vLinear, x: vPtr, out: addressOf(v), rows: batch * rowsKv });
      project(this.#instance, projections, scratch);
      this.#rotate(call, q, k);
      const finish = (): object => {
        const weightsResult = this.#attend(call, q, k, v, heads, headsLse);
        const back = outLinear && { linear: outLinear, x: addressOf(heads), out: outPtr, rows };
        if (back) project(this.#instance, [back], scratch);
        else copy(arena, outPtr, heads);
        if (lsePtr && headsLse) copy(arena, lsePtr, headsLse);
        const writtenLse = lse.take();
        return { out: out.take()!, ...(writtenLse && { lse: writtenLse }), ...weightsResult };
      };
      return cache && kSource ? cache.appendThen(k, v, { lengths }, finish) : finish();
    } finally {
      scope.release();
    }
  }

  /** Rotates the new rows of q and k in place, where the layer applies rotary embedding. */
  #rotate({ batch, positions, kPositions, kSource }: ForwardCall, q: Tensor, k: Tensor): void {
    if (!this.#rotary) return;
    const { numHeads, numKvHeads, headDim } = this;
    const form = { ...this.#rotary, headDim, batch };
    rotary(this.#instance, q, { ...form, numHeads, positions, out: q });
    if (kSource) rotary(this.#instance, k, { ...form, numHeads: numKvHeads, positions: kPositions, out: k });
  }

  /**
   * Attention of q over k and v, or over the cache.
   *
   * @param heads where out is written, [batch, rowsQ, numHeads, valueDim]
   * @param lse where lse is written, if it is needed
   * @returns the attention weights, if they were asked for
   */
  #attend(
    call: ForwardCall,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: Tensor,
    lse: Tensor | undefined,
  ): object | undefined {
    const { cache, weights, attention: options } = call;
    // The weights before the softmax need no denominator.
    const known = weights && (weights.stage ?? "softmax") === "softmax" ? lse : undefined;
    const weightsOptions = weights && { ...options, ...weights, lse: known };
    Object.assign(options, { out: heads, lse });
    if (cache) {
      cache.attention(q, options);
      return weightsOptions && cache.attentionWeights(q, weightsOptions);
    }
    attention(this.#instance, q, k, v, options);
    return weightsOptions && attentionWeights(this.#instance, q, k, weightsOptions);
  }
}

/** Copies the floats of a tensor to an address. */
function copy(arena: Arena, to: number, from: Tensor): void {
  floatsAt(arena, to, from.length).set(from.data);
}
