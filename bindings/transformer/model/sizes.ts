// What the configs of most families say alike.

import { wrongValue } from "../../check.ts";
import type { Fields } from "./fields.ts";
import type { LayerSpec } from "./spec.ts";

/** The sizes, and defaults for what most families lack. */
export function sizesOf(fields: Fields) {
  const hiddenSize = fields.number(["hidden_size", "n_embd", "dim"]);
  const numHeads = fields.number(["num_attention_heads", "n_head", "n_heads"]);
  const headDim = fields.number("head_dim", hiddenSize / numHeads);
  if (!Number.isInteger(headDim)) throw wrongValue("config.hidden_size", `a multiple of ${numHeads} heads`, hiddenSize);
  return {
    hiddenSize,
    numHeads,
    headDim,
    numKvHeads: fields.number("num_key_value_heads", numHeads),
    vocabSize: fields.number("vocab_size"),
    ffnSize: fields.number(["intermediate_size", "n_inner", "hidden_dim"], 4 * hiddenSize),
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
  const length = fields.number(["num_hidden_layers", "n_layer", "n_layers"]);
  return Array.from({ length }, (_, layer) => layerOf(layer));
}
