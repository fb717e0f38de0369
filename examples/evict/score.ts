import { Llama } from "../generate/llama.ts";
import type { Model } from "../generate/model.ts";
import type { Sampler } from "../generate/sample.ts";
import { BOS } from "../generate/tokenizer.ts";
import { FIRST_TOKENS, type Policy, weightsOf } from "./policies.ts";

/** How well a model with caches of some policy foretells texts. */
export interface Score {
  policy: Policy;
  /** The most tokens that a layer's attention sees; undefined: all. */
  budget: number | undefined;
  /** The most bytes that the caches of all layers had at any time. */
  bytes: number;
  /** The mean of −ln(probability of the next token), in nats. */
  loss: number;
}

/** A text of as many tokens as the model has positions: story after story, as in its training. */
export function write(model: Model, sample: Sampler): number[] {
  const { seqLen } = model.config;
  const llama = new Llama(model, seqLen, "f32");
  const text = [BOS];
  while (text.length < seqLen) text.push(sample(llama.read(text.slice(-1))));
  llama.dispose();
  return text;
}

/**
 * Reads texts token by token, and scores each against what the model expected (teacher forcing). A budget holds the
 * caches of every layer to that many tokens, the one that is read included.
 */
export function score(model: Model, texts: readonly (readonly number[])[], policy: Policy, budget?: number): Score {
  let [total, count, bytes] = [0, 0, 0];
  for (const text of texts) {
    const window = budget === undefined ? undefined : policy.window?.(budget);
    const eviction = budget === undefined ? undefined : policy.eviction?.(budget, model.config.numHeads);
    const llama = new Llama(model, text.length, "f32", window, eviction);
    try {
      for (let at = 0; at + 1 < text.length; at++) {
        total += surprise(llama.read([text[at]!]), text[at + 1]!);
        bytes = Math.max(bytes, llama.cacheBytes);
      }
      count += text.length - 1;
    } finally {
      llama.dispose();
    }
  }
  return { policy, budget, bytes, loss: total / count };
}

/** −ln softmax(logits)[token] */
export function surprise(logits: Float32Array, token: number): number {
  const top = logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const norm = logits.reduce((total, logit) => total + Math.exp(logit - top), 0);
  return Math.log(norm) - (logits[token]! - top);
}

/** Which part of the attention in the later half of the texts goes to the first tokens, over all layers and heads. */
export function shareOfFirst(model: Model, texts: readonly (readonly number[])[]): number {
  const { numHeads } = model.config;
  let [first, all] = [0, 0];
  for (const text of texts) {
    const llama = new Llama(model, text.length, "f32", undefined, {
      beforeAppend: () => {},
      afterAttention: (cache, _, q) => {
        if (cache.length <= text.length / 2) return;
        first += sum(weightsOf(cache, q, numHeads).slice(0, FIRST_TOKENS));
        all += numHeads;
      },
    });
    for (const token of text) llama.read([token]);
    llama.dispose();
  }
  return first / all;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
