/// <reference lib="esnext.disposable" preserve="true" />
// Node, browsers, Deno, Bun and every bundler: both builds travel inside the JavaScript, decoded when one is loaded.
import relaxed from "../dist/relaxed.wasm";
import simd from "../dist/simd.wasm";
import type { Heed } from "./heed.ts";
import { type Host, type LoadOptions, type LoadSyncOptions, WASM32_BYTES, loadFrom, loadSyncFrom } from "./load.ts";

export type { AttentionResult } from "./attention.ts";
export type { ForwardOptions, LayerWeights } from "./forward.ts";
export type { Heed } from "./heed.ts";
export {
  type ImportOptions,
  type ImportedLayer,
  MultiHeadAttention,
  type OnnxAttributes,
  type TorchOptions,
} from "./importers.ts";
export type { LayerRotary, MultiHeadAttentionOptions, MultiHeadWeights } from "./layer-options.ts";
export type { LinearOptions, LinearResult, PackedLinear, WeightOptions } from "./linear.ts";
export type { KvCache } from "./kv-cache.ts";
export type { AppendOptions, CacheAttentionOptions, CacheWeightsOptions, KvCacheOptions } from "./kv-options.ts";
export type { LoadOptions, LoadSyncOptions } from "./load.ts";
export type { MergeOptions, MergeResult, Part } from "./merge.ts";
export type { Variant } from "./module.ts";
export type { ForwardResult, MultiHeadAttention as MultiHeadAttentionLayer } from "./multi-head-attention.ts";
export type { AttentionOptions, Layout } from "./options.ts";
export type { Dtype } from "./pages.ts";
export type { Written } from "./result.ts";
export type { RotaryForm, RotaryOptions, RotaryResult } from "./rotary.ts";
export type { ModuleSource } from "./source.ts";
export type { StateDict } from "./state-dict.ts";
export type { Tensor } from "./tensor.ts";
export type { LinearWeights, Weight } from "./weight.ts";
export type { Stage, WeightsOptions, WeightsResult } from "./weights.ts";

const host: Host = {
  source: (variant) => Uint8Array.from(atob(variant === "relaxed" ? relaxed : simd), (char) => char.charCodeAt(0)),
  maxMemory: WASM32_BYTES,
};

/**
 * A new instance, with a memory of its own.
 *
 * @throws Error where the engine has no WebAssembly SIMD or compiles nothing, or where `module` cannot be fetched; TypeError or
 * RangeError for wrong options
 */
export function load(options?: LoadOptions): Promise<Heed> {
  return loadFrom(host, options);
}

/** {@link load} without a promise: the few kilobytes compile while the caller waits, or come compiled as `module`. */
export function loadSync(options?: LoadSyncOptions): Heed {
  return loadSyncFrom(host, options);
}
