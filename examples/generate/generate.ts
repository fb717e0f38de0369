import type { Dtype } from "heed";
import { Llama } from "./llama.ts";
import type { Model } from "./model.ts";
import type { Sampler } from "./sample.ts";
import { BOS, EOS } from "./tokenizer.ts";

/** A text that was generated, and what it took. */
export interface Run {
  dtype: Dtype;
  /** What came after the prompt. */
  tokens: number[];
  /** From the first token that was generated to the last. */
  seconds: number;
  cacheBytes: number;
}

/**
 * Writes up to `steps` tokens after the prompt; `onToken` gets each as it comes. It stops earlier at the end of the
 * text or where the model has no more positions.
 */
export function generate(
  model: Model,
  prompt: readonly number[],
  { steps, dtype, sample }: { steps: number; dtype: Dtype; sample: Sampler },
  onToken: (token: number, previous: number) => void = () => {},
): Run {
  // The last token is written, but not read.
  const capacity = Math.min(prompt.length + steps - 1, model.config.seqLen);
  const llama = new Llama(model, capacity, dtype);
  try {
    const tokens: number[] = [];
    let previous = prompt.at(-1)!;
    let logits = llama.read(prompt);
    const start = performance.now();
    for (;;) {
      const token = sample(logits);
      if (token === BOS || token === EOS) break;
      tokens.push(token);
      onToken(token, previous);
      if (prompt.length + tokens.length > capacity) break;
      logits = llama.read([token]);
      previous = token;
    }
    return { dtype, tokens, seconds: (performance.now() - start) / 1000, cacheBytes: llama.cacheBytes };
  } finally {
    llama.dispose();
  }
}
