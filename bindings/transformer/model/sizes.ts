// What the configs of most families say alike.

import { wrongValue } from "../../check.ts";
import type { Fields } from "./fields.ts";
import type { LayerSpec } from "./spec.ts";

/** More layers than any model has. */
const MOST_LAYERS = 4096;

/** The sizes, and defaults for what most families lack. */
export function sizesOf(fields: Fields) {
  const hiddenSize = fields.size(["hidden_size", "n_embd", "dim"]);
  const numHeads = fields.size(["num_attention_heads", "n_head", "n_heads"]);
  if (fields.get("head_dim") === undefined && hiddenSize % numHeads !== 0) {
    throw wrongValue("config.hidden_size", `a multiple of ${numHeads} heads`, hiddenSize);
  }
  const headDim = fields.size("head_dim", hiddenSize / numHeads);
  return {
    hiddenSize,
    numHeads,
    headDim,
    numKvHeads: fields.size("num_key_value_heads", numHeads),
    vocabSize: fields.size("vocab_size"),
    ffnSize: fields.size(["intermediate_size", "n_inner", "hidden_dim"], 4 * hiddenSize),
    scale: headDim ** -0.5,
    positions: 0,
    types: 0,
    firstPosition: 0,
    embedScale: 1,
    tied: true,
    pooling: "cls" as "mean" | "cls" | "last",
  };
}

export function layersOf(fields: Fields, layerOf: (layer: number) => LayerSpec): LayerSpec[] {
  const length = fields.size(["num_hidden_layers", "n_layer", "n_layers"], undefined, 1, MOST_LAYERS);
  return Array.from({ length }, (_, layer) => layerOf(layer));
}
