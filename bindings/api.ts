/// <reference lib="esnext.disposable" preserve="true" />
// What heed and heed/slim export alike: everything but how a build comes to be loaded.

import { importers } from "./importers/index.ts";
import type { MultiHeadAttention as MultiHeadAttentionLayer } from "./layer/multi-head-attention.ts";

export type { AttentionResult } from "./attention/attention.ts";
export type { ForwardOptions, ForwardResult, LayerWeights } from "./layer/forward-options.ts";
export type { Heed } from "./heed.ts";
export { relativePositionBias } from "./importers/index.ts";
export type {
  HuggingFaceOptions,
  ImportOptions,
  ImportedLayer,
  OnnxAttributes,
  RelativePositionOptions,
  StateDict,
  StateTensor,
  TorchOptions,
} from "./importers/index.ts";
export type { LayerRotary, MultiHeadAttentionOptions, MultiHeadWeights } from "./layer/options.ts";
export type { Activation } from "./layer/epilogue.ts";
export type { LinearOptions, LinearResult } from "./layer/linear.ts";
export type { PackOptions, PackedLinear, WeightOptions } from "./layer/packed-linear.ts";
export { KvCache } from "./kv-cache/kv-cache.ts";
export type { SaveOptions } from "./kv-cache/saved.ts";
export type {
  AppendOptions,
  CacheAttentionOptions,
  CacheWeightsOptions,
  KeepOptions,
  KvCacheOptions,
} from "./kv-cache/options.ts";
export type { LoadOptions, LoadSyncOptions } from "./load.ts";
export type { MergeOptions, MergeResult, Part } from "./attention/merge.ts";
export type { Variant } from "./engine/kernels.ts";
export type { MultiHeadAttentionLayer };
export type { AttentionOptions } from "./attention/options.ts";
export type { AsyncOptions } from "./steps/run-async.ts";
export type { Layout } from "./memory/layout.ts";
export type { Dtype } from "./kv-cache/page-layout.ts";
export type { Written } from "./memory/output.ts";
export { rotaryFrequencies } from "./rotary/frequencies.ts";
export type {
  RopeParameters,
  RotaryConfig,
  RotaryFrequencies,
  RotaryFrequenciesOptions,
} from "./rotary/frequencies.ts";
export type { RotaryForm, RotaryOptions, RotaryResult } from "./rotary/options.ts";
export type { ModuleSource } from "./engine/source.ts";
export type { FloatDtype } from "./memory/float-types.ts";
export type { Tensor } from "./memory/tensor.ts";
export type { Float16ArrayLike, FloatRows, HalfArray } from "./memory/data.ts";
export type { BlockDtype, BlockWeight, LinearWeights, Weight, WeightDtype } from "./layer/linear-weights.ts";
export type { Stage, WeightsOptions, WeightsResult } from "./attention-weights/options.ts";

// `MultiHeadAttention` is a value and a type to a caller, as the name of a class is: the value holds the importers, the
// type is the layer. The importers are no static methods of the layer's class, because every bundle has that class:
// as an object of their own they are left out of a bundle that does not import `MultiHeadAttention`.

/** Options for `heed.createMultiHeadAttention` from the weights of other libraries. @category Importers @namespace */
export const MultiHeadAttention: typeof importers = importers;

/** The layer that `heed.createMultiHeadAttention` makes. @category Layer and linear */
export type MultiHeadAttention = MultiHeadAttentionLayer;
