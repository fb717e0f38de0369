/**
 * Whole models from the files of Hugging Face ({@link loadTransformer}), and the functions that they are made of beside
 * attention and linear layers, in a wasm file of its own: norms, activations, embedding, pooling, softmax and sampling
 * ({@link loadBlocks}).
 *
 * @module heed/transformer
 */
import relaxed from "../../dist/transformer.relaxed.wasm";
import simd from "../../dist/transformer.simd.wasm";
import { fromBase64 } from "../engine/base64.ts";
import type { Heed } from "../heed.ts";
import type { Blocks } from "./blocks.ts";
import {
  type BlocksOptions,
  type BlocksSyncOptions,
  type OwnBuild,
  loadBlocksFrom,
  loadBlocksSyncFrom,
} from "./load.ts";
import { type TransformerOptions, loadTransformerWith } from "./model/load-transformer.ts";
import type { Transformer } from "./model/transformer.ts";

export type { ActivateOptions, BlockResult } from "./activate.ts";
export type { Blocks } from "./blocks.ts";
export type { EmbedOptions } from "./embed.ts";
export type { BlocksOptions, BlocksSyncOptions } from "./load.ts";
export type { L2Options, LayerNormOptions, NormOptions, NormResult, RmsNormOptions } from "./norm.ts";
export type { PoolOptions } from "./pool.ts";
export type { TransformerConfig } from "./model/fields.ts";
export type { AttentionsOptions, Tokens } from "./model/inputs.ts";
export type { TransformerOptions } from "./model/load-transformer.ts";
export type { SliceOptions } from "./model/run.ts";
export type { ReadOptions, ReadResult, Session, StartOptions } from "./model/session.ts";
export type { ModelTensor, ModelTensors } from "./model/tensors.ts";
export type {
  ClassifyOptions,
  EmbedTextOptions,
  EncodeOptions,
  EncodeResult,
  Transformer,
} from "./model/transformer.ts";
export type { SampleOptions, SampleResult } from "./sample.ts";
export type { ScaleLogitsOptions, SoftmaxOptions } from "./softmax.ts";

const own: OwnBuild = (variant) => fromBase64(variant === "relaxed" ? relaxed : simd);

/**
 * The functions of transformer blocks for an instance, on its memory and in its build. They last as long as the
 * instance, and take no memory between calls.
 *
 * @param heed made by `load` or `loadSync` of heed or heed/slim, of the same version
 * @throws TypeError for what is no instance, and for a compiled `module` where the instance has threads; RangeError for a
 * `module` that is another file, version or build; ReferenceError for a disposed instance; else as `load`
 * @example
 * import { load } from "heed";
 * import { loadBlocks } from "heed/transformer";
 *
 * const heed = await load();
 * const blocks = await loadBlocks(heed);
 * const { out } = blocks.activate(Float32Array.of(-1, 2), { activation: "relu" });
 * console.log(out); // → Float32Array(2) [ 0, 2 ]
 * @category Transformer blocks
 */
export function loadBlocks(heed: Heed, options?: BlocksOptions): Promise<Blocks> {
  return loadBlocksFrom(own, heed, options);
}

/**
 * {@link loadBlocks} without a promise: the four kilobytes compile while the caller waits, or come compiled as `module`.
 *
 * @example
 * import { loadSync } from "heed";
 * import { loadBlocksSync } from "heed/transformer";
 *
 * const blocks = loadBlocksSync(loadSync());
 * console.log(blocks.scaleLogits(Float32Array.of(3), { scale: 2 }).out[0]); // → 6
 * @category Transformer blocks
 */
export function loadBlocksSync(heed: Heed, options?: BlocksSyncOptions): Blocks {
  return loadBlocksSyncFrom(own, heed, options);
}

/**
 * A model on an instance of heed, from what Hugging Face stores of it: its config.json, and its tensors as a parser of
 * safetensors gives them. BERT, RoBERTa, XLM-R, DistilBERT, ModernBERT; GPT-2, Llama, Mistral, Qwen2, Qwen3, Gemma 3 and
 * those that are built like them, such as MiniLM and SmolLM. Every tensor is used, or known to have no influence, or
 * refused by name; a field of the config that asks for something else is refused by name as well.
 *
 * @throws TypeError for an argument of the wrong kind, and for a tensor that is missing or that no such model has;
 * RangeError for a value of the config or the shape of a tensor that does not fit, and where memory cannot grow; else as
 * {@link loadBlocks}. Then nothing is left in memory.
 * @example
 * import { load } from "heed";
 * import { loadTransformer } from "heed/transformer";
 *
 * const heed = await load();
 * const config = { model_type: "bert", hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1, vocab_size: 30 };
 * await loadTransformer(heed, { config, tensors: {} }).catch(({ message }) => console.log(message));
 * // → "tensors["embeddings.word_embeddings.weight"]" expected a tensor of [30, 8], got undefined
 * @category Models
 */
export function loadTransformer(heed: Heed, options: TransformerOptions): Promise<Transformer> {
  return loadTransformerWith(loadBlocks, heed, options);
}
