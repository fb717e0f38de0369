import type { WeightsOptions } from "../../attention-weights/options.ts";
import { checkInteger, checkIntegers, wrongKind, wrongValue } from "../../check.ts";
import { type Names, nested } from "../../options.ts";
import type { Spec } from "./spec.ts";

/** The tokens of one sequence, as a tokenizer numbers them. @category Models */
export type Tokens = Int32Array | readonly number[];

/** Which attention weights a pass returns too, see `Heed.attentionWeights`. @category Models */
export interface AttentionsOptions extends Pick<WeightsOptions, "heads" | "rows" | "reduce" | "topK" | "entropy"> {
  /** The layers, from 0 on. */
  layers: readonly number[];
}

const ATTENTIONS: Names<AttentionsOptions> = { layers: 0, heads: 0, rows: 0, reduce: 0, topK: 0, entropy: 0 };
export const readAttentions = nested(ATTENTIONS);

/** Sequences that have been checked, one behind the other. */
export interface Packed {
  readonly tokens: Int32Array;
  readonly types: Int32Array | undefined;
  readonly cuSeqlens: Int32Array;
}

/** Checks the layers whose attention weights are asked for. */
export function checkLayers({ layers }: Spec, attentions: AttentionsOptions | undefined): void {
  if (attentions === undefined) return;
  const chosen: unknown = attentions.layers;
  if (!Array.isArray(chosen)) throw wrongKind("attentions.layers", "an array of layers", chosen);
  for (const layer of chosen as unknown[]) checkInteger("attentions.layers", layer, 0, layers.length - 1);
}

/** Checks the tokens of a sequence. */
export function checkTokens(title: string, given: unknown, below: number): Int32Array {
  const tokens = Array.isArray(given) ? Int32Array.from(given as number[]) : checkIntegers(title, given);
  if (Array.isArray(given) && !given.every((token, n) => token === tokens[n])) {
    throw wrongKind(
      title,
      "integers",
      (given as unknown[]).find((token, n) => token !== tokens[n]),
    );
  }
  for (const token of tokens) {
    if (token < 0 || token >= below) throw wrongValue(title, `numbers from 0 to ${below - 1}`, token);
  }
  return tokens;
}

/** Checks sequences, and puts them one behind the other. */
export function pack(spec: Spec, sequences: unknown, types: unknown): Packed {
  if (!Array.isArray(sequences)) throw wrongKind("sequences", "an array of token numbers for each sequence", sequences);
  const all = (sequences as unknown[]).map((one, n) => checkTokens(`sequences[${n}]`, one, spec.vocabSize));
  const cuSeqlens = new Int32Array(all.length + 1);
  all.forEach(({ length }, n) => {
    if (length === 0 || length > spec.maxLength) {
      throw wrongValue(`sequences[${n}].length`, `1 to ${spec.maxLength} tokens`, length);
    }
    cuSeqlens[n + 1] = cuSeqlens[n]! + length;
  });
  let allTypes: Int32Array | undefined;
  if (types !== undefined) {
    if (spec.types === 0) throw wrongValue("types", "nothing: the model has no types", types);
    if (!Array.isArray(types) || types.length !== all.length) {
      throw wrongKind("types", `an array of ${all.length} (sequences)`, types);
    }
    const checked = (types as unknown[]).map((one, n) => checkTokens(`types[${n}]`, one, spec.types));
    checked.forEach(({ length }, n) => {
      if (length !== all[n]!.length) throw wrongValue(`types[${n}].length`, String(all[n]!.length), length);
    });
    allTypes = joinTokens(checked);
  }
  return { tokens: joinTokens(all), types: allTypes, cuSeqlens };
}

function joinTokens(parts: readonly Int32Array[]): Int32Array {
  const joined = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
