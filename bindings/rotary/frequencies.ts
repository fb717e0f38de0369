import {
  checkBoolean,
  checkChoice,
  checkFinite,
  checkInteger,
  checkLength,
  checkObject,
  isObject,
  wrongKind,
  wrongValue,
} from "../check.ts";
import { MAX_DIM, MAX_ROWS } from "../limits.ts";
import { type Names, list, readOptions, record } from "../options.ts";
import { type Get, RULES } from "./rope-rules.ts";
import { checkSections } from "./sections.ts";
import { frequenciesOf } from "./trigonometry.ts";

/** How the frequencies of a model were stretched, in the names of Hugging Face. @category Rotary */
export interface RopeParameters {
  /** "default", "linear", "dynamic", "yarn", "longrope", "llama3" or "proportional". Default "default". */
  rope_type?: string | null | undefined;
  readonly [name: string]: unknown;
}

/**
 * What `rotaryFrequencies` reads of a `config.json`; the rest does not matter. What `rope_parameters` has goes before
 * what stands beside it. Without it and `rope_scaling`, the parameters may stand in the object itself.
 *
 * @category Rotary
 */
export interface RotaryConfig {
  /** The parameters, or those of each type of layer: { full_attention: …, sliding_attention: … }. */
  rope_parameters?: RopeParameters | Readonly<Record<string, RopeParameters | null>> | null | undefined;
  /** What `rope_parameters` was called before version 5 of transformers. */
  rope_scaling?: RopeParameters | null | undefined;
  /** The base of the angles. Default 10000. */
  rope_theta?: number | null | undefined;
  /** Default hidden_size / num_attention_heads. */
  head_dim?: number | null | undefined;
  hidden_size?: number | null | undefined;
  num_attention_heads?: number | null | undefined;
  /** The share of head_dim that is rotated. Default 1. */
  partial_rotary_factor?: number | null | undefined;
  /** The tokens of the longest context. */
  max_position_embeddings?: number | null | undefined;
  /** The tokens of the longest context before the frequencies were stretched. Default max_position_embeddings. */
  original_max_position_embeddings?: number | null | undefined;
  readonly [name: string]: unknown;
}

/** What `rotaryFrequencies` takes besides the config. @category Rotary */
export interface RotaryFrequenciesOptions {
  /** Floats in a row of q and k, instead of `head_dim`. */
  headDim?: number | undefined;
  /** The base of the angles, instead of `rope_theta`. */
  base?: number | undefined;
  /** Tokens of the context that is asked for: "dynamic" and "longrope" follow it. Default the original context. */
  seqLen?: number | undefined;
  /** Whose parameters are meant, where the config has some for each type of layer. */
  layerType?: string | undefined;
}

const OPTION_NAMES: Names<RotaryFrequenciesOptions> = { headDim: 0, base: 0, seqLen: 0, layerType: 0 };

/** What `rotaryFrequencies` returns: a form for `heed.rotary`, a cache or a layer. @category Rotary */
export interface RotaryFrequencies {
  /** [rotaryDim / 2], radians a position. */
  frequencies: Float64Array;
  /** What cosines and sines are multiplied by. */
  attentionScale: number;
  /** How many floats of a row are rotated. */
  rotaryDim: number;
  /** Where the config has `mrope_section`. */
  sections?: number[];
  /** Where the config has `mrope_section`. */
  sectionsInterleaved?: boolean;
}

/**
 * The frequencies of a model for `rotary`, from its `config.json` in the names of Hugging Face. What it computes is what
 * `modeling_rope_utils.py` of transformers computes in f32, here in f64 and with the same bits on every machine.
 *
 * | rope_type | source |
 * |---|---|
 * | default | RoFormer, https://arxiv.org/abs/2104.09864 |
 * | linear | Position Interpolation, https://arxiv.org/abs/2306.15595 |
 * | dynamic | NTK-aware by seqLen, https://arxiv.org/abs/2309.00071, B.2; `alpha` of HunYuan |
 * | yarn | https://arxiv.org/abs/2309.00071; `mscale`, `mscale_all_dim` of DeepSeek, `truncate` of gpt-oss |
 * | longrope (su) | https://arxiv.org/abs/2402.13753; Phi-3, https://arxiv.org/abs/2404.14219 |
 * | llama3 | `apply_scaling` of https://github.com/meta-llama/llama-models |
 * | proportional | Gemma 4, `modeling_rope_utils.py` |
 *
 * `mrope_section` and `mrope_interleaved` become `sections` and `sectionsInterleaved`. The rotated part of a row follows
 * from `partial_rotary_factor` (or `rotary_pct`, `rotary_dim`), a head's size from `qk_rope_head_dim` of DeepSeek first.
 *
 * @param config the config of the text model, or its `rope_scaling` or `rope_parameters` alone beside `headDim` and
 * `base`
 * @returns a form for `rotary`: `frequencies`, `attentionScale`, `rotaryDim`, and `sections` where there are some
 * @throws TypeError for a parameter that is missing or of the wrong kind, RangeError for a wrong value or an unknown
 * rope_type
 * @example
 * import { load, rotaryFrequencies } from "heed";
 *
 * const rope_scaling = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32768 };
 * const rotary = rotaryFrequencies({ head_dim: 128, rope_theta: 1e6, rope_scaling });
 * console.log(rotary.frequencies.length, rotary.attentionScale.toFixed(4)); // → 64 1.1386
 *
 * const heed = await load();
 * const cache = heed.createKvCache({ numKvHeads: 8, headDim: 128, capacity: 131072, rotary });
 * console.log(cache.capacity); // → 131072
 * @category Rotary
 */
export function rotaryFrequencies(config: RotaryConfig, options: RotaryFrequenciesOptions = {}): RotaryFrequencies {
  const own = readOptions("rotaryFrequencies", options, OPTION_NAMES);
  const { seqLen = 0, layerType } = own;
  checkObject("config", config);
  const beside: Readonly<Record<string, unknown>> = record(config);
  const parameters = parametersOf(beside, layerType);
  const read = (name: string): unknown => parameters[name] ?? beside[name] ?? undefined;
  const get: Get = (name, above = 0) => {
    const value = read(name);
    return value === undefined ? undefined : checkFinite(name, value, above);
  };
  const need = (name: string): number => checkFinite(name, read(name), 0);

  const type = checkChoice(
    "rope_type",
    parameters["rope_type"] ?? parameters["type"] ?? "default",
    Object.keys(RULES) as (keyof typeof RULES)[],
  );
  const headDim = checkInteger("headDim", own.headDim === undefined ? headDimOf(get) : own.headDim, 2, MAX_DIM);
  const { base = get("rope_theta") ?? get("rotary_emb_base") ?? 10000 } = own;
  checkFinite("base", base, 0);
  checkInteger("seqLen", seqLen, 0, MAX_ROWS);
  const share = get("partial_rotary_factor") ?? get("rotary_pct") ?? 1;
  const rotaryDim = type === "proportional" ? headDim : (get("rotary_dim") ?? Math.floor(headDim * share));
  checkInteger("rotaryDim", rotaryDim, 2, headDim);
  if (rotaryDim % 2 !== 0) throw wrongValue("rotaryDim", "an even integer", rotaryDim);
  const half = rotaryDim / 2;
  const needList = (name: string): number[] => {
    const values = list(read(name), half + 1);
    if (!Array.isArray(values)) throw wrongKind(name, "an array of numbers", values);
    checkLength(name, values.length, half, "rotaryDim / 2");
    return values.map((value, j) => checkFinite(`${name}[${j}]`, value, 0));
  };
  const plain = frequenciesOf(base, half);
  const given = { plain, base, rotaryDim, seqLen, get, need, needList, parameters };
  const { frequencies, scale = 1 } = RULES[type](given);
  const form = { frequencies, attentionScale: scale, rotaryDim };
  const sections = list(parameters["mrope_section"] ?? undefined, half + 1) as number[] | undefined;
  if (sections === undefined) return form;
  const sectionsInterleaved = checkBoolean("mrope_interleaved", parameters["mrope_interleaved"] ?? false);
  checkSections(sections, sectionsInterleaved, half, "");
  return { ...form, sections, sectionsInterleaved };
}

/** The parameters of a config, each read once: those of one type of layer, where there are some for each. */
function parametersOf(
  beside: Readonly<Record<string, unknown>>,
  layerType: unknown,
): Readonly<Record<string, unknown>> {
  const given = beside["rope_parameters"] ?? beside["rope_scaling"] ?? undefined;
  let parameters = beside;
  if (given !== undefined) {
    checkObject(beside["rope_parameters"] ? "rope_parameters" : "rope_scaling", given);
    parameters = record(given) as Record<string, unknown>;
    const types = Object.keys(parameters).filter((name) => isRecord(parameters[name]));
    if (types.length > 0)
      return record(parameters[checkChoice("layerType", layerType, types)] as object) as typeof beside;
  }
  if (layerType !== undefined)
    throw wrongValue("layerType", "nothing where all layers have the same parameters", layerType);
  return parameters;
}

const isRecord = (value: unknown): boolean => isObject(value) && !Array.isArray(value);

/** Floats in a row of q and k that the config has. */
function headDimOf(get: Get): number | undefined {
  const known = get("qk_rope_head_dim") ?? get("head_dim");
  if (known !== undefined) return known;
  const [width, heads] = [get("hidden_size"), get("num_attention_heads")];
  return width && heads && width / heads;
}
