import { checkProblem, checkQueries } from "../attention/problem.ts";
import { checkBoolean, checkChoice, disposed, wrongKind } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import { KvCache } from "../kv-cache/kv-cache.ts";
import { type KvCacheOptions, STORE_NAMES } from "../kv-cache/options.ts";
import { type FloatRows, halves } from "../memory/data.ts";
import type { Rows } from "../memory/output.ts";
import { type Tensor, holdTensors } from "../memory/tensor.ts";
import { Uses } from "../memory/uses.ts";
import { type Names, readOptions, record } from "../options.ts";
import { type AsyncOptions, runAsync } from "../steps/run-async.ts";
import { finish } from "../steps/steps.ts";
import { ASYNC_FORWARD_NAMES, FORWARD_NAMES, type ForwardOptions, type ForwardResult } from "./forward-options.ts";
import { type ForwardCall, checkForward, withCopies } from "./forward.ts";
import { type WeightDtype, WEIGHT_DTYPES } from "./linear-weights.ts";
import { PackedLinear } from "./packed-linear.ts";
import {
  type LayerDefaults,
  DEFAULT_NAMES,
  type LayerDims,
  type LayerRotary,
  type MultiHeadAttentionOptions,
  type MultiHeadWeights,
  PROJECTIONS,
  WEIGHTS_NAMES,
  checkDims,
  checkSwitch,
  checkWeights,
  withOwnTables,
} from "./options.ts";
import { runForward } from "./run-forward.ts";

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
  readonly #weightDtype: WeightDtype;
  readonly #rotary: LayerRotary | undefined;
  /** With the sizes of the layer. Inherits nothing, like the options of a call. */
  readonly #defaults: LayerDefaults;
  /** Copies of the tables of rotary in linear memory, where it has tables. */
  readonly #tables: Tensor[] = [];
  /** The projections q, k, v and, where there is one, out; undefined until there are weights. */
  #packed: PackedLinear[] | undefined;
  readonly #uses = new Uses("layer", "MultiHeadAttention");
  #disposed = false;

  /** @internal `options` have been read. */
  constructor(instance: Instance, options: MultiHeadAttentionOptions) {
    const { arena } = instance;
    arena.check();
    this.#instance = instance;
    Object.assign(this, checkDims(options));
    Object.freeze(this.kvDim);
    const { bias, rotary, weightDtype = "f32" } = options;
    this.#weightDtype = checkChoice("weightDtype", weightDtype, WEIGHT_DTYPES);
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
    this.#uses.checkNone();
    const checked = checkWeights(this.#instance.arena, weights, this, this.#biasRule);
    const packed: PackedLinear[] = [];
    try {
      for (const [n, weight] of checked.entries()) {
        const title = `weights.${PROJECTIONS[n]!}.weight`;
        if (weight) packed.push(new PackedLinear(this.#instance, weight, this.#weightDtype, title));
      }
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
   * Projects x to q, k and v, attends, and projects back. All that lies between x and out stays in linear memory. x, the
   * context and `out` may have 16 bits: those read count as the floats that they stand for, and `out` is rounded once.
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
    const Out extends FloatRows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
    const All extends boolean | undefined = false,
    const Weights extends Rows | undefined = undefined,
    const TopK extends number | undefined = undefined,
    const Entropy extends boolean | Rows | undefined = undefined,
  >(
    x: FloatRows,
    options: ForwardOptions<Out, Lse, All, Weights, TopK, Entropy> = {},
  ): NoInfer<ForwardResult<Out, Lse, All, Weights, TopK, Entropy>> {
    const read = readOptions("forward", options as ForwardOptions, FORWARD_NAMES);
    const call = this.#checkForward(halves(x), read);
    if (call.cache && call.kSource) call.cache.uses.checkNone();
    const result = finish(runForward(this.#instance, call, read, false));
    return result as NoInfer<ForwardResult<Out, Lse, All, Weights, TopK, Entropy>>;
  }

  /**
   * {@link forward} that gives the thread back every `budgetMs` milliseconds, see `Heed.attentionAsync`. Until it ends,
   * the layer refuses `setWeights` and `dispose`. A cache refuses to be changed; the new tokens come into it on the way,
   * and are gone again where the call fails. The attention weights are one step.
   *
   * @throws as {@link forward}, and the reason of `signal`: the promise is rejected
   * @example
   * let done = 0;
   * const later = await layer.forwardAsync(rows(5), { onProgress: (fraction) => (done = fraction) });
   * console.log(done, later.out.length); // → 1 40
   */
  async forwardAsync<
    const Out extends FloatRows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
    const All extends boolean | undefined = false,
    const Weights extends Rows | undefined = undefined,
    const TopK extends number | undefined = undefined,
    const Entropy extends boolean | Rows | undefined = undefined,
  >(
    x: FloatRows,
    options: ForwardOptions<Out, Lse, All, Weights, TopK, Entropy> & AsyncOptions = {},
  ): Promise<NoInfer<ForwardResult<Out, Lse, All, Weights, TopK, Entropy>>> {
    const read = readOptions("forwardAsync", options as ForwardOptions & AsyncOptions, ASYNC_FORWARD_NAMES);
    const xRead = halves(x);
    const call = withCopies(this.#checkForward(xRead, read));
    const result = await runAsync(this.#instance.arena, runForward(this.#instance, call, read, true), read, () => [
      ...(call.cache ? [call.cache.uses.begin(call.kSource !== undefined)] : []),
      this.#uses.begin(),
      ...holdTensors([xRead, read]),
    ]);
    return result as NoInfer<ForwardResult<Out, Lse, All, Weights, TopK, Entropy>>;
  }

  /**
   * Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError.
   *
   * @example
   * layer.dispose(); // or `using layer = heed.createMultiHeadAttention(…)`
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#uses.checkNone();
    this.#disposed = true;
    for (const own of [...this.#tables, ...(this.#packed ?? [])]) own.dispose();
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Checks a call of `forward`. */
  #checkForward(x: unknown, read: ForwardOptions): ForwardCall {
    this.#check();
    if (!this.#packed) throw wrongKind("weights", "weights given to the layer, by setWeights", undefined);
    const { arena } = this.#instance;
    return checkForward(arena, x, read, {
      dims: this,
      defaults: this.#defaults,
      rotary: this.#rotary,
      packed: this.#packed,
    });
  }

  /** Throws a ReferenceError once the layer or its instance is disposed. */
  #check(): void {
    if (this.#disposed) throw disposed("layer", "MultiHeadAttention");
    this.#instance.arena.check();
  }
}
