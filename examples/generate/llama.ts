// The forward pass of Llama 2 (https://arxiv.org/abs/2307.09288). heed does what needs the past: rotary embedding, KV cache, attention. The
// rest is written out as plainly as it goes.

import type { Dtype, Heed, KvCache } from "heed";
import type { Checkpoint, Layer } from "./checkpoint.ts";

const NORM_EPSILON = 1e-5;

/** One text under way: the model, and the keys and values of what it has read. */
export class Llama {
  readonly #model: Checkpoint;
  readonly #caches: KvCache[];

  /** `capacity`: tokens of the text, at most. */
  constructor(heed: Heed, model: Checkpoint, capacity: number, dtype: Dtype) {
    this.#model = model;
    const { numKvHeads, headDim } = model.config;
    // llama2.c keeps the pairs of the original Llama, interleaved.
    const rotary = { interleaved: true };
    this.#caches = model.layers.map(() => heed.createKvCache({ numKvHeads, headDim, capacity, dtype, rotary }));
  }

  /** Bytes of the caches of all layers. */
  get cacheBytes(): number {
    return this.#caches.reduce((sum, cache) => sum + cache.bytes, 0);
  }

  /** Reads the next tokens of the text, and returns the logits [vocabSize] of what may follow the last one. */
  read(tokens: readonly number[]): Float32Array {
    const { config, embeddings, layers, norm, classifier } = this.#model;
    const { dim } = config;
    const x = new Float32Array(tokens.length * dim);
    tokens.forEach((token, i) => x.set(embeddings.subarray(token * dim, (token + 1) * dim), i * dim));
    layers.forEach((layer, i) => {
      add(x, this.#attend(layer, this.#caches[i]!, rmsNorm(x, layer.attentionNorm)));
      add(x, feedForward(layer, rmsNorm(x, layer.ffnNorm)));
    });
    return multiply(classifier, rmsNorm(x.subarray(-dim), norm), dim);
  }

  #attend({ wq, wk, wv, wo }: Layer, cache: KvCache, x: Float32Array): Float32Array {
    const { dim, numHeads } = this.#model.config;
    cache.append(multiply(wk, x, dim), multiply(wv, x, dim));
    return multiply(wo, cache.attention(multiply(wq, x, dim), { numHeads, causal: true }).out, dim);
  }

  dispose(): void {
    for (const cache of this.#caches) cache.dispose();
  }
}

/** W₂·(silu(W₁·x) ⊙ W₃·x), SwiGLU (https://arxiv.org/abs/2002.05202). */
function feedForward({ w1, w2, w3, ffnNorm }: Layer, x: Float32Array): Float32Array {
  const gate = multiply(w1, x, ffnNorm.length);
  const up = multiply(w3, x, ffnNorm.length);
  const hidden = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!);
  return multiply(w2, hidden, w2.length / ffnNorm.length);
}

/** Every row of x divided by its root mean square (https://arxiv.org/abs/1910.07467), times `weight`. */
function rmsNorm(x: Float32Array, weight: Float32Array): Float32Array {
  const dim = weight.length;
  const out = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += dim) {
    let sum = 0;
    for (let c = 0; c < dim; c++) sum += x[row + c]! * x[row + c]!;
    const factor = 1 / Math.sqrt(sum / dim + NORM_EPSILON);
    for (let c = 0; c < dim; c++) out[row + c] = x[row + c]! * factor * weight[c]!;
  }
  return out;
}

/** Every row of x [rows, inputs] times w [outputs, inputs]: [rows, outputs]. */
function multiply(w: Float32Array, x: Float32Array, inputs: number): Float32Array {
  const outputs = w.length / inputs;
  const out = new Float32Array((x.length / inputs) * outputs);
  for (let row = 0, at = 0; row < x.length; row += inputs) {
    for (let column = 0; column < w.length; column += inputs) {
      let sum = 0;
      for (let c = 0; c < inputs; c++) sum += w[column + c]! * x[row + c]!;
      out[at++] = sum;
    }
  }
  return out;
}

function add(x: Float32Array, y: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i]! += y[i]!;
}
