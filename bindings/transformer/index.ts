/**
 * What a transformer block has beside attention and linear layers, in a wasm file of its own: norms, activations,
 * embedding, pooling, softmax and sampling. {@link loadBlocks} gives them for an instance of heed.
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

export type { ActivateOptions, BlockResult } from "./activate.ts";
export type { Blocks } from "./blocks.ts";
export type { EmbedOptions } from "./embed.ts";
export type { BlocksOptions, BlocksSyncOptions } from "./load.ts";
export type { L2Options, LayerNormOptions, NormOptions, NormResult, RmsNormOptions } from "./norm.ts";
export type { PoolOptions } from "./pool.ts";
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
