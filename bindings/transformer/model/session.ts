import type { WeightsResult } from "../../attention-weights/options.ts";
import { disposed, inUse, wrongValue } from "../../check.ts";
import type { KvCache } from "../../kv-cache/kv-cache.ts";
import type { Dtype } from "../../kv-cache/page-layout.ts";
import { type Names, readOptions } from "../../options.ts";
import type { SampleOptions } from "../sample.ts";
import { type Loaded, type Pass, PassRows, embed, finishLast, forward } from "./forward.ts";
import { type AttentionsOptions, type Tokens, checkTokens, checkLayers, readAttentions } from "./inputs.ts";
import { type SliceOptions, runPass, runPassAsync } from "./run.ts";

/** What `start` takes. @category Models */
export interface StartOptions {
  /** The most tokens of the text. Default those that the model was made for, at most 4096. */
  capacity?: number | undefined;
  /** How keys and values are stored, see `Heed.createKvCache`. Default "f32". */
  dtype?: Dtype | { k: Dtype; v: Dtype } | undefined;
}

/** What `read` takes besides the tokens. @category Models */
export interface ReadOptions {
  /** Which attention weights of the new tokens are returned too. Default none. */
  attentions?: AttentionsOptions | undefined;
}

/** What `read` returns. @category Models */
export interface ReadResult {
  /** [vocabSize]: the logits of the tokens that may follow. */
  logits: Float32Array;
  /** On request: what `KvCache.attentionWeights` returns for each of the layers. */
  attentions?: WeightsResult[];
}

/** The options of a session, settled. */
interface SessionOptions extends Pick<StartOptions, "dtype"> {
  capacity: number;
}

const READ: Names<ReadOptions> = { attentions: readAttentions };
const READ_ASYNC: Names<ReadOptions & SliceOptions> = { ...READ, signal: 0, budgetMs: 0 };

/**
 * A text that a model reads and writes: the keys and values of its tokens so far, and the logits of what may follow.
 * Made by {@link Transformer.start}.
 *
 * @example
 * import { load } from "heed";
 * import { type ModelTensor, loadTransformer } from "heed/transformer";
 *
 * // Stands in for the files: a Llama of one layer, whose matrices are all [4, 4].
 * const sizes = { hidden_size: 4, intermediate_size: 4, vocab_size: 9, num_attention_heads: 1, num_hidden_layers: 1 };
 * const config = { model_type: "llama", tie_word_embeddings: true, ...sizes };
 * const shapes: Record<string, number[]> = { embed_tokens: [9, 4], norm: [4], score: [2, 4] };
 * for (const name of ["input_layernorm", "post_attention_layernorm"]) shapes[`layers.0.${name}`] = [4];
 * for (const name of ["gate", "up", "down"]) shapes[`layers.0.mlp.${name}_proj`] = [4, 4];
 * for (const name of ["q", "k", "v", "o"]) shapes[`layers.0.self_attn.${name}_proj`] = [4, 4];
 * const tensors: Record<string, ModelTensor> = {};
 * for (const name in shapes) {
 *   const shape = shapes[name]!;
 *   const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, n) => Math.sin(n));
 *   tensors[`${name}.weight`] = { data, shape };
 * }
 * const heed = await load();
 * const model = await loadTransformer(heed, { config, tensors });
 * const session = model.start();
 * session.read([1, 2, 3]);
 * @category Models
 */
export class Session {
  readonly #live: () => Loaded;
  readonly #options: SessionOptions;
  #caches: KvCache[] | undefined;
  #logits: Float32Array | undefined;
  #isReading = false;

  /** @internal Made by `Transformer.start`, or with the caches and logits of another. */
  constructor(
    live: () => Loaded,
    options: SessionOptions,
    from?: { caches: readonly KvCache[]; logits: Float32Array | undefined },
  ) {
    const { heed, spec } = live();
    const { numKvHeads, headDim } = spec;
    this.#live = live;
    this.#options = options;
    this.#logits = from?.logits;
    this.#caches = [];
    try {
      spec.layers.forEach(({ window, rotary }, layer) => {
        const given = { ...options, numKvHeads, headDim, rotary, window: window?.left };
        this.#caches!.push(from ? from.caches[layer]!.fork() : heed.createKvCache(given));
      });
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Tokens read so far. */
  get length(): number {
    return this.#own()[0]!.length;
  }

  /** The most tokens of the text. */
  get capacity(): number {
    return this.#options.capacity;
  }

  /** Bytes of the keys and values that it alone holds. */
  get bytes(): number {
    return this.#own().reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The logits after the last token that was read, [vocabSize]; undefined before the first. */
  get logits(): Float32Array | undefined {
    this.#own();
    return this.#logits;
  }

  /**
   * Reads the next tokens of the text: a prompt, or the token that was chosen last.
   *
   * @param tokens at least one
   * @throws as `Transformer.encode`, and a RangeError where the text gets longer than `capacity`. Then nothing was read.
   * @example
   * const { logits, attentions } = session.read([4], { attentions: { layers: [0] } });
   * console.log(session.length, logits.length, attentions?.[0]?.weights.length); // → 4 9 4
   */
  read(tokens: Tokens, options: ReadOptions = {}): ReadResult {
    return runPass(this.#read(tokens, readOptions("read", options, READ)));
  }

  /**
   * {@link read} that gives the thread back between its calls, with the same bits. Until the promise settles the session
   * refuses everything else.
   *
   * @throws as {@link read}, and the reason of `signal`: the promise is rejected, and nothing was read
   * @example
   * await session.readAsync([5], { budgetMs: 4 });
   * console.log(session.length); // → 4
   */
  async readAsync(tokens: Tokens, options: ReadOptions & SliceOptions = {}): Promise<ReadResult> {
    const read = readOptions("readAsync", options, READ_ASYNC);
    return runPassAsync(this.#read(tokens, read), read);
  }

  /**
   * A token that may follow, drawn from the logits, see `Blocks.sample`. It is not read yet. Draws of one seed differ
   * from token to token.
   *
   * @throws as `Blocks.sample`, and a RangeError before the first token was read
   * @example
   * const token = session.sample({ temperature: 0.8, topP: 0.9, seed: 7 });
   * session.read([token]);
   * console.log(session.length); // → 4
   */
  sample(options: Omit<SampleOptions, "vocabSize" | "step" | "tokens"> = {}): number {
    const { blocks, spec } = this.#live();
    const { length, logits } = this;
    if (!logits) throw wrongValue("length", "at least 1: read a token first", 0);
    return blocks.sample(logits, { ...options, vocabSize: spec.vocabSize, step: length }).tokens[0]!;
  }

  /**
   * Another text with the tokens of this one. The two share their memory until one of them reads on.
   *
   * @throws RangeError where memory cannot grow, ReferenceError for a disposed session
   * @example
   * const fork = session.fork();
   * fork.read([7]);
   * console.log(session.length, fork.length); // → 3 4
   */
  fork(): Session {
    return new Session(this.#live, this.#options, { caches: this.#own(), logits: this.#logits });
  }

  /**
   * Forgets all tokens but the first `length`, and the logits.
   *
   * @throws as `KvCache.truncate`
   * @example
   * session.truncate(2);
   * console.log(session.length, session.logits); // → 2 undefined
   */
  truncate(length: number): void {
    if (this.#isReading) throw inUse("session", "Session");
    const caches = this.#own();
    // A window may have given back what is asked for: then the first cache that has one refuses, and none has changed.
    for (const isWindowed of [true, false]) {
      for (const cache of caches) if (cache.window < Infinity === isWindowed) cache.truncate(length);
    }
    this.#logits = undefined;
  }

  /**
   * Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError.
   *
   * @throws TypeError while it reads asynchronously
   * @example
   * session.dispose(); // or `using session = model.start()`
   */
  dispose(): void {
    if (this.#isReading) throw inUse("session", "Session");
    for (const cache of this.#caches?.splice(0) ?? []) cache.dispose();
    this.#caches = undefined;
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #own(): KvCache[] {
    if (!this.#caches) throw disposed("session", "Session");
    return this.#caches;
  }

  *#read(given: Tokens, { attentions }: ReadOptions): Pass<ReadResult> {
    const loaded = this.#live();
    const { heed, spec, weights } = loaded;
    const caches = this.#own();
    if (this.#isReading) throw inUse("session", "Session");
    const tokens = checkTokens("tokens", given, spec.vocabSize);
    const before = this.length;
    const left = this.capacity - before;
    if (tokens.length === 0 || tokens.length > left) {
      throw wrongValue("tokens.length", `1 to ${left} (capacity − length)`, tokens.length);
    }
    checkLayers(spec, attentions);
    const found: WeightsResult[] = [];
    const { numHeads, scale } = spec;
    const rows = new PassRows(heed, spec, tokens.length);
    this.#isReading = true;
    let isDone = false;
    try {
      embed(
        loaded,
        tokens,
        tokens.map((_, n) => before + n),
        undefined,
        rows.x,
      );
      yield;
      yield* forward(loaded, rows, (layer, _, { q, k, v, out }) => {
        const cache = caches[layer]!;
        cache.append(k, v);
        const options = { numHeads, causal: true, scale };
        if (attentions?.layers.includes(layer)) {
          const { layers, ...choice } = attentions;
          const result = cache.attentionWeights(q, { ...options, ...choice });
          layers.forEach((one, place) => one === layer && (found[place] = result));
        }
        return {
          sync: () => cache.attention(q, { ...options, out }),
          async: (signal) => cache.attentionAsync(q, { ...options, out, signal }),
        };
      });
      const logits = heed.linear(finishLast(loaded, rows), weights.lmHead!).out;
      isDone = true;
      this.#logits = logits;
      return attentions ? { logits, attentions: found } : { logits };
    } finally {
      this.#isReading = false;
      if (!isDone) for (const cache of caches) if (cache.length > before) cache.truncate(before);
      rows.dispose();
    }
  }
}
