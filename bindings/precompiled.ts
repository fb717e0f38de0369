// Cloudflare Workers and Vercel Edge refuse to compile bytes and hand in modules for imported files instead (build.js
// says how each of them wants the import written). Of the 128 MB that an isolate has, half is left to the arrays of
// JavaScript.
import linearRelaxed from "./linear.relaxed.wasm?module";
import linearSimd from "./linear.simd.wasm?module";
import relaxed from "./relaxed.wasm?module";
import simd from "./simd.wasm?module";
import { type Host, type LoadOptions, type LoadSyncOptions, loadFrom, loadSyncFrom } from "./load.ts";

export { KvCache, MultiHeadAttention, relativePositionBias, rotaryFrequencies } from "./api.ts";

const host: Host = {
  source: (variant) => (variant === "relaxed" ? relaxed : simd),
  linear: (variant) => (variant === "relaxed" ? linearRelaxed : linearSimd),
  maxMemory: 2 ** 26,
};

export const load = (options?: LoadOptions) => loadFrom(host, options);
export const loadSync = (options?: LoadSyncOptions) => loadSyncFrom(host, options);
