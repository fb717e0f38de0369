import { checkChoice, checkInteger, disposed, wrongKind } from "../../check.ts";
import type { WeightsResult } from "../../attention-weights/options.ts";
import type { Tensor } from "../../memory/tensor.ts";
import { type Names, nested, readOptions } from "../../options.ts";
import { type Loaded, type Pass, PassRows, embed, finishAll, forward } from "./forward.ts";
import { type AttentionsOptions, type Packed, type Tokens, checkLayers, pack, readAttentions } from "./inputs.ts";
import { type SliceOptions, runPass, runPassAsync } from "./run.ts";
import { Session, type StartOptions } from "./session.ts";
import type { Owned } from "./weights.ts";

/** What `classify` takes besides the sequences. @category Models */
export interface ClassifyOptions {
  /** The type of each token of each sequence: 0 and 1 for the two texts of a pair. Default 0. */
  types?: readonly Tokens[] | undefined;
}

/** What `encode` takes besides the sequences. @category Models */
export interface EncodeOptions extends ClassifyOptions {
  /** Default none. */
  attentions?: AttentionsOptions | undefined;
}

/** What `embed` takes besides the sequences. @category Models */
export interface EmbedTextOptions extends ClassifyOptions {
  /** What becomes of the rows of a sequence. Default "mean", or "last" where a token sees those before it alone. */
  pooling?: "mean" | "cls" | "last" | undefined;
  /** Whether each row gets the length 1. Default true. */
  normalize?: boolean | undefined;
}

/** What `encode` returns. @category Models */
export interface EncodeResult {
  /** [tokens of all sequences, hiddenSize]: what comes out of the last block, after the last norm. */
  hidden: Float32Array;
  /** [sequences + 1]: where the rows of each sequence begin, and the last ones end. */
  cuSeqlens: Int32Array;
  /** On request: for each sequence what `attentionWeights` returns for each of the layers. */
  attentions?: WeightsResult[][];
}

const ENCODE: Names<EncodeOptions> = { types: 0, attentions: readAttentions };
const CLASSIFY: Names<ClassifyOptions> = { types: 0 };
const EMBED: Names<EmbedTextOptions> = { ...CLASSIFY, pooling: 0, normalize: 0 };
const START: Names<StartOptions> = { capacity: 0, dtype: nested({ k: 0, v: 0 }) };
const SLICES: Names<SliceOptions> = { signal: 0, budgetMs: 0 };
const ENCODE_ASYNC: Names<EncodeOptions & SliceOptions> = { ...ENCODE, ...SLICES };
const EMBED_ASYNC: Names<EmbedTextOptions & SliceOptions> = { ...EMBED, ...SLICES };
const CLASSIFY_ASYNC: Names<ClassifyOptions & SliceOptions> = { ...CLASSIFY, ...SLICES };

/**
 * A model on an instance of heed. Made by {@link loadTransformer}. Sequences of a batch are computed without padding:
 * the bits of one do not depend on the others.
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
 * @category Models
 */
export class Transformer {
  /** The `model_type` of its config. */
  readonly type: string;
  readonly hiddenSize: number;
  readonly vocabSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  /** The tokens of the longest sequence that the model was made for. */
  readonly maxLength: number;
  /** How many labels `classify` knows; 0 where the tensors had no such head. */
  readonly labels: number;
  readonly #loaded: Loaded;
  readonly #owned: Owned;
  #isDisposed = false;

  /** @internal Made by `loadTransformer`. */
  constructor(loaded: Loaded, owned: Owned) {
    const { spec, weights } = loaded;
    this.type = spec.type;
    this.hiddenSize = spec.hiddenSize;
    this.vocabSize = spec.vocabSize;
    this.numLayers = spec.layers.length;
    this.numHeads = spec.numHeads;
    this.maxLength = spec.maxLength;
    this.labels = weights.classifier?.out.outFeatures ?? 0;
    this.#loaded = loaded;
    this.#owned = owned;
  }

  /**
   * What comes out of the last block for each token.
   *
   * @param sequences tokens of each
   * @throws TypeError for an argument of the wrong kind, RangeError for tokens that the model does not have, for a
   * sequence that is empty or too long, and where memory cannot grow; ReferenceError for a disposed model
   * @example
   * const { hidden, cuSeqlens } = model.encode([[1, 2, 3], [4]]);
   * console.log(hidden.length, cuSeqlens); // → 16 Int32Array(3) [ 0, 3, 4 ]
   */
  encode(sequences: readonly Tokens[], options: EncodeOptions = {}): EncodeResult {
    return runPass(this.#encode(sequences, readOptions("encode", options, ENCODE)));
  }

  /**
   * {@link encode} that gives the thread back between its calls, with the same bits.
   *
   * @throws as {@link encode}, and the reason of `signal`: the promise is rejected
   * @example
   * const later = await model.encodeAsync([[1, 2, 3], [4]], { budgetMs: 4 });
   * console.log(later.hidden.length); // → 16
   */
  async encodeAsync(sequences: readonly Tokens[], options: EncodeOptions & SliceOptions = {}): Promise<EncodeResult> {
    const read = readOptions("encodeAsync", options, ENCODE_ASYNC);
    return runPassAsync(this.#encode(sequences, read), read);
  }

  /**
   * A row for each sequence, as sentence embeddings are compared.
   *
   * @returns [sequences, hiddenSize]
   * @throws as {@link encode}
   * @example
   * const rows = model.embed([[1, 2, 3], [4]], { pooling: "mean" });
   * console.log(rows.length); // → 8
   */
  embed(sequences: readonly Tokens[], options: EmbedTextOptions = {}): Float32Array {
    return runPass(this.#embed(sequences, readOptions("embed", options, EMBED)));
  }

  /**
   * {@link embed} that gives the thread back between its calls, with the same bits.
   *
   * @throws as {@link encodeAsync}
   * @example
   * console.log((await model.embedAsync([[1, 2, 3]])).length); // → 4
   */
  async embedAsync(sequences: readonly Tokens[], options: EmbedTextOptions & SliceOptions = {}): Promise<Float32Array> {
    const read = readOptions("embedAsync", options, EMBED_ASYNC);
    return runPassAsync(this.#embed(sequences, read), read);
  }

  /**
   * The logits of the labels of each sequence; a reranker has one, for how well a passage answers a question.
   *
   * @returns [sequences, labels]
   * @throws as {@link encode}, and a TypeError where the tensors had no such head
   * @example
   * console.log(model.labels, model.classify([[1, 2, 3], [4]]).length); // → 2 4
   */
  classify(sequences: readonly Tokens[], options: ClassifyOptions = {}): Float32Array {
    return runPass(this.#classify(sequences, readOptions("classify", options, CLASSIFY)));
  }

  /**
   * {@link classify} that gives the thread back between its calls, with the same bits.
   *
   * @throws as {@link encodeAsync}, and as {@link classify}
   * @example
   * console.log((await model.classifyAsync([[1, 2, 3]])).length); // → 2
   */
  async classifyAsync(
    sequences: readonly Tokens[],
    options: ClassifyOptions & SliceOptions = {},
  ): Promise<Float32Array> {
    const read = readOptions("classifyAsync", options, CLASSIFY_ASYNC);
    return runPassAsync(this.#classify(sequences, read), read);
  }

  /**
   * A text to be written: it reads tokens, and says which may follow.
   *
   * @throws TypeError where the model writes no text, RangeError for a wrong capacity, ReferenceError for a disposed model
   * @example
   * const text = model.start({ capacity: 100, dtype: "f16" });
   * console.log(text.read([1, 2, 3]).logits.length); // → 9
   */
  start(options: StartOptions = {}): Session {
    const { spec, weights } = this.#live();
    const { capacity = Math.min(spec.maxLength, 4096), dtype } = readOptions("start", options, START);
    if (!spec.family.isCausal || !weights.lmHead) {
      throw wrongKind("start", "a model with a head that goes back to the words", this.type);
    }
    checkInteger("capacity", capacity, 1, spec.positions || undefined);
    return new Session(() => this.#live(), { capacity, dtype });
  }

  /**
   * Gives the memory of the weights back. Calling it again does nothing; any other use throws a ReferenceError.
   *
   * @example
   * model.dispose(); // or `using model = await loadTransformer(…)`
   */
  dispose(): void {
    this.#isDisposed = true;
    for (const made of this.#owned.splice(0)) made.dispose();
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): Loaded {
    if (this.#isDisposed) throw disposed("model", "Transformer");
    return this.#loaded;
  }

  *#encode(sequences: unknown, { types, attentions }: EncodeOptions): Pass<EncodeResult> {
    const loaded = this.#live();
    const packed = pack(loaded.spec, sequences, types);
    checkLayers(loaded.spec, attentions);
    const found: WeightsResult[][] = Array.from({ length: packed.cuSeqlens.length - 1 }, () => []);
    const rows = new PassRows(loaded.heed, loaded.spec, packed.tokens.length);
    try {
      yield* passOver(loaded, packed, rows, (layer, weightsOf) => {
        if (!attentions?.layers.includes(layer)) return;
        const { layers, ...choice } = attentions;
        found.forEach((results, n) =>
          layers.forEach((one, place) => one === layer && (results[place] = weightsOf(n, choice))),
        );
      });
      const result: EncodeResult = { hidden: rows.x.data.slice(), cuSeqlens: packed.cuSeqlens };
      if (attentions) result.attentions = found;
      return result;
    } finally {
      rows.dispose();
    }
  }

  *#embed(sequences: unknown, { types, pooling, normalize = true }: EmbedTextOptions): Pass<Float32Array> {
    const loaded = this.#live();
    const { spec, blocks } = loaded;
    const how = checkChoice("pooling", pooling ?? (spec.family.isCausal ? "last" : "mean"), ["mean", "cls", "last"]);
    if (typeof normalize !== "boolean") throw wrongKind("normalize", "a boolean", normalize);
    const pooled = yield* this.#pool(pack(spec, sequences, types), how);
    return normalize ? blocks.l2Normalize(pooled, { dim: spec.hiddenSize, out: pooled }).out : pooled;
  }

  *#classify(sequences: unknown, { types }: EncodeOptions): Pass<Float32Array> {
    const { spec, blocks, heed, weights } = this.#live();
    const { classifier } = weights;
    if (!classifier) throw wrongKind("classify", "a model whose tensors have a head that classifies", this.type);
    const { denseActivation } = spec.family;
    let pooled = yield* this.#pool(pack(spec, sequences, types), spec.family.isCausal ? "last" : spec.pooling);
    if (classifier.dense) {
      pooled = heed.linear(pooled, classifier.dense).out;
      if (denseActivation === "tanh") blocks.scaleLogits(pooled, { softcap: 1, out: pooled });
      else blocks.activate(pooled, { activation: denseActivation!, out: pooled });
    }
    if (classifier.norm) {
      const { weight } = classifier.norm;
      blocks.layerNorm(pooled, { weight, eps: spec.eps, out: pooled });
    }
    return heed.linear(pooled, classifier.out).out;
  }

  *#pool(packed: Packed, pooling: "mean" | "cls" | "last"): Pass<Float32Array> {
    const loaded = this.#live();
    const { heed, spec, blocks } = loaded;
    const rows = new PassRows(heed, spec, packed.tokens.length);
    try {
      yield* passOver(loaded, packed, rows);
      return blocks.pool(rows.x, { dim: spec.hiddenSize, pooling, cuSeqlens: packed.cuSeqlens }).out;
    } finally {
      rows.dispose();
    }
  }
}

/** Which weights of attention are asked for, but for the layers. */
type Choice = Omit<AttentionsOptions, "layers">;

/**
 * A pass over packed sequences; x becomes what comes out of the model. `look` is called for each layer with what computes
 * the attention weights of a sequence.
 */
function* passOver(
  loaded: Loaded,
  { tokens, types, cuSeqlens }: Packed,
  rows: PassRows,
  look?: (layer: number, weightsOf: (sequence: number, choice: Choice) => WeightsResult) => void,
): Pass<void> {
  const { heed, spec } = loaded;
  const { numHeads, numKvHeads, headDim, scale, family } = spec;
  const positions = new Int32Array(tokens.length);
  for (let n = 0; n + 1 < cuSeqlens.length; n++) {
    for (let at = cuSeqlens[n]!; at < cuSeqlens[n + 1]!; at++) positions[at] = at - cuSeqlens[n]!;
  }
  embed(loaded, tokens, positions, types, rows.x);
  yield;
  yield* forward(loaded, rows, (layer, { window, rotary }, { q, k, v, out }) => {
    if (rotary) {
      heed.rotary(q, { ...rotary, numHeads, headDim, positions, out: q });
      heed.rotary(k, { ...rotary, numHeads: numKvHeads, headDim, positions, out: k });
    }
    const common = { causal: family.isCausal, window, scale, numHeads, numKvHeads, headDim };
    look?.(layer, (sequence, choice) => {
      const part = ({ data }: Tensor, heads: number): Float32Array =>
        data.subarray(cuSeqlens[sequence]! * heads * headDim, cuSeqlens[sequence + 1]! * heads * headDim);
      return heed.attentionWeights(part(q, numHeads), part(k, numKvHeads), { ...common, ...choice });
    });
    const options = { ...common, cuSeqlensQ: cuSeqlens, out };
    return {
      sync: () => heed.attention(q, k, v, options),
      async: (signal) => heed.attentionAsync(q, k, v, { ...options, signal }),
    };
  });
  finishAll(loaded, rows);
}
