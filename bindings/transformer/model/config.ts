// What a config.json of Hugging Face says, as the blocks of forward.ts need it. Each family reads its own fields; a field
// whose value changes what is computed in a way that is not built is refused by its name.

import { wrongValue } from "../../check.ts";
import { DECODERS } from "./decoders.ts";
import { ENCODERS } from "./encoders.ts";
import { Fields } from "./fields.ts";
import type { Family, Spec } from "./spec.ts";

const FAMILIES: Readonly<Record<string, Family>> = { ...ENCODERS, ...DECODERS };

/** Reads a config. Throws as `loadTransformer`. */
export function readConfig(config: unknown): Spec {
  const fields = new Fields(config);
  const type = fields.get("model_type");
  if (typeof type !== "string" || !Object.hasOwn(FAMILIES, type)) {
    throw wrongValue("config.model_type", `one of ${Object.keys(FAMILIES).join(", ")}`, type);
  }
  fields.only("quantization_config");
  fields.only("is_encoder_decoder", false);
  fields.only("add_cross_attention", false);
  fields.only("is_decoder", false);
  fields.only("chunk_size_feed_forward", 0);
  const family = FAMILIES[type]!;
  const spec = { type, family, ...family.read(fields) };
  if (spec.numHeads % spec.numKvHeads !== 0) {
    throw wrongValue("config.num_key_value_heads", `a divisor of ${spec.numHeads} heads`, spec.numKvHeads);
  }
  return spec;
}
