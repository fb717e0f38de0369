// For hosts that compile no bytes and hand in modules for imported files instead, as bindings/precompiled.ts.
import relaxed from "./transformer.relaxed.wasm?module";
import simd from "./transformer.simd.wasm?module";
import type { Heed } from "../heed.ts";
import {
  type BlocksOptions,
  type BlocksSyncOptions,
  type OwnBuild,
  loadBlocksFrom,
  loadBlocksSyncFrom,
} from "./load.ts";
import { type TransformerOptions, loadTransformerWith } from "./model/load-transformer.ts";

const own: OwnBuild = (variant) => (variant === "relaxed" ? relaxed : simd);

export const loadBlocks = (heed: Heed, options?: BlocksOptions) => loadBlocksFrom(own, heed, options);
export const loadBlocksSync = (heed: Heed, options?: BlocksSyncOptions) => loadBlocksSyncFrom(own, heed, options);
export const loadTransformer = (heed: Heed, options: TransformerOptions) =>
  loadTransformerWith(loadBlocks, heed, options);
