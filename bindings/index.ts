/// <reference lib="esnext.disposable" preserve="true" />
// Node, browsers, Deno, Bun and every bundler: both builds travel inside the JavaScript, decoded when one is loaded.
import relaxed from "../dist/relaxed.wasm";
import simd from "../dist/simd.wasm";
import type { Heed } from "./heed.ts";
import { type Host, type LoadOptions, type LoadSyncOptions, WASM32_BYTES, loadFrom, loadSyncFrom } from "./load.ts";

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

const host: Host = {
  source: (variant) => Uint8Array.from(atob(variant === "relaxed" ? relaxed : simd), (char) => char.charCodeAt(0)),
  maxMemory: WASM32_BYTES,
};

/**
 * A new instance, with a memory of its own.
 *
 * @throws Error where the engine has no WebAssembly SIMD or compiles nothing, or where `module` cannot be fetched;
 * TypeError or RangeError for wrong options
 */
export function load(options?: LoadOptions): Promise<Heed> {
  return loadFrom(host, options);
}

/** {@link load} without a promise: the few kilobytes compile while the caller waits, or come compiled as `module`. */
export function loadSync(options?: LoadSyncOptions): Heed {
  return loadSyncFrom(host, options);
}
