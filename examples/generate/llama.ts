// The forward pass of Llama 2 (https://arxiv.org/abs/2307.09288). heed does the products with the weights, the rotary
// embedding, the KV cache and attention. The norms, SwiGLU and the residual sums are written out here.

import type { Dtype, KvCache, PackedLinear, Tensor } from "heed";
import { Activations } from "./activations.ts";
import type { Model, PackedLayer } from "./model.ts";

const NORM_EPSILON = 1e-5;

/** What looks at the caches of the layers while a text is read, and may take tokens out of them. */
export interface Eviction {
  /** Before the keys and values of more tokens are appended. */
  beforeAppend(cache: KvCache, layer: number): void;
  /** After attention; q: [rows, numHeads, headDim], the queries of the tokens that were appended. */
  afterAttention(cache: KvCache, layer: number, q: Tensor): void;
}

/** One text under way: the model, and the keys and values of the tokens read so far. */
export class Llama {
  readonly #model: Model;
  readonly #caches: KvCache[];
  readonly #eviction: Eviction | undefined;
  /** Of the latest read. The prompt is many rows, each token after it one, so they are made twice for a text. */
  #activations: Activations | undefined;

  /** `capacity`: tokens of the text, at most. `window`: how many keys to its left a token sees. */
  constructor(model: Model, capacity: number, dtype: Dtype, window?: number, eviction?: Eviction) {
    this.#model = model;
    this.#eviction = eviction;
    const { numKvHeads, headDim } = model.config;
    // llama2.c keeps the pairs of the original Llama, interleaved.
    const rotary = { interleaved: true };
    const options = { numKvHeads, headDim, capacity, dtype, rotary, window };
    this.#caches = model.layers.map(() => model.heed.createKvCache(options));
  }

  /** Bytes of the caches of all layers. */
  get cacheBytes(): number {
    return this.#caches.reduce((sum, cache) => sum + cache.bytes, 0);
  }

  /** Reads the next tokens of the text, and returns the logits [vocabSize] of what may follow the last one. */
  read(tokens: readonly number[]): Float32Array {
    const { heed, config, embeddings, layers, norm, classifier } = this.#model;
    const { dim } = config;
    const activations = this.#activationsOf(tokens.length);
    const x = new Float32Array(tokens.length * dim);
    tokens.forEach((token, i) => x.set(embeddings.subarray(token * dim, (token + 1) * dim), i * dim));
    layers.forEach((layer, i) => {
      rmsNorm(x, layer.attentionNorm, activations.normed.data);
      this.#attend(layer, i, activations);
      add(x, activations.update.data);
      rmsNorm(x, layer.ffnNorm, activations.normed.data);
      this.#feedForward(layer, activations);
      add(x, activations.update.data);
    });
    const last = new Float32Array(dim);
    rmsNorm(x.subarray(-dim), norm, last);
    return heed.linear(last, classifier).out;
  }

  /** update = Wₒ·attention(Wq·x, Wk·x, Wv·x), where the keys and values of the whole text are in the cache. */
  #attend({ wq, wk, wv, wo }: PackedLayer, layer: number, { normed, q, k, v, heads, update }: Activations): void {
    const { numHeads } = this.#model.config;
    const cache = this.#caches[layer]!;
    this.#multiply(wq, normed, q);
    this.#multiply(wk, normed, k);
    this.#multiply(wv, normed, v);
    this.#eviction?.beforeAppend(cache, layer);
    cache.append(k, v);
    cache.attention(q, { numHeads, causal: true, out: heads });
    this.#eviction?.afterAttention(cache, layer, q);
    this.#multiply(wo, heads, update);
  }

  /** update = W₂·(silu(W₁·x) ⊙ W₃·x), SwiGLU (https://arxiv.org/abs/2002.05202). */
  #feedForward({ w1, w2, w3 }: PackedLayer, { normed, gate, up, update }: Activations): void {
    this.#multiply(w1, normed, gate);
    this.#multiply(w3, normed, up);
    gateBySilu(gate.data, up.data);
    this.#multiply(w2, gate, update);
  }

  /** to = W·x for every row of x. */
  #multiply(w: PackedLinear, x: Tensor, to: Tensor): void {
    this.#model.heed.linear(x, w, undefined, { out: to });
  }

  #activationsOf(rows: number): Activations {
    if (this.#activations?.rows === rows) return this.#activations;
    this.#activations?.dispose();
    this.#activations = undefined;
    this.#activations = new Activations(this.#model.heed, this.#model.config, rows);
    return this.#activations;
  }

  dispose(): void {
    for (const cache of this.#caches) cache.dispose();
    this.#activations?.dispose();
  }
}

/** Every row of x divided by its root mean square (https://arxiv.org/abs/1910.07467), times `weight`. */
function rmsNorm(x: Float32Array, weight: Float32Array, out: Float32Array): void {
  const dim = weight.length;
  for (let row = 0; row < x.length; row += dim) {
    let sum = 0;
    for (let c = 0; c < dim; c++) sum += x[row + c]! * x[row + c]!;
    const factor = 1 / Math.sqrt(sum / dim + NORM_EPSILON);
    for (let c = 0; c < dim; c++) out[row + c] = x[row + c]! * factor * weight[c]!;
  }
}

/** gate = silu(gate) ⊙ up, where silu(x) = x / (1 + e⁻ˣ). */
function gateBySilu(gate: Float32Array, up: Float32Array): void {
  for (let i = 0; i < gate.length; i++) gate[i] = (gate[i]! / (1 + Math.exp(-gate[i]!))) * up[i]!;
}

function add(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i]! += y[i]!;
}
