/// <reference lib="esnext.disposable" preserve="true" />
// What heed and heed/slim export alike: everything but how a build comes to be loaded.

export type { AttentionResult } from "./attention/attention.ts";
export type { ForwardOptions, LayerWeights } from "./layer/forward.ts";
export type { Heed } from "./heed.ts";
export {
  type ImportOptions,
  type ImportedLayer,
  MultiHeadAttention,
  type OnnxAttributes,
  type TorchOptions,
} from "./importers/index.ts";
export type { LayerRotary, MultiHeadAttentionOptions, MultiHeadWeights } from "./layer/options.ts";
export type { LinearOptions, LinearResult, PackedLinear, WeightOptions } from "./layer/linear.ts";
export type { KvCache } from "./kv-cache/kv-cache.ts";
export type { AppendOptions, CacheAttentionOptions, CacheWeightsOptions, KvCacheOptions } from "./kv-cache/options.ts";
export type { LoadOptions, LoadSyncOptions } from "./load.ts";
export type { MergeOptions, MergeResult, Part } from "./attention/merge.ts";
export type { Variant } from "./engine/kernels.ts";
export type { ForwardResult, MultiHeadAttention as MultiHeadAttentionLayer } from "./layer/multi-head-attention.ts";
export type { AttentionOptions } from "./attention/options.ts";
export type { Layout } from "./memory/layout.ts";
export type { Dtype } from "./kv-cache/pages.ts";
export type { Written } from "./memory/output.ts";
export type { RotaryForm, RotaryOptions, RotaryResult } from "./rotary/options.ts";
export type { ModuleSource } from "./engine/source.ts";
export type { StateDict } from "./importers/state-dict.ts";
export type { Tensor } from "./memory/tensor.ts";
export type { LinearWeights, Weight } from "./layer/linear-weights.ts";
export type { Stage, WeightsOptions, WeightsResult } from "./attention-weights/options.ts";
