// The rules by which models stretch the frequencies of rotary embedding, each with its source.
import { checkBoolean, checkFinite, wrongKind, wrongValue } from "../check.ts";
import { frequenciesOf, logarithmOf } from "./trigonometry.ts";

/** A number of the config: of the parameters, else of what stands beside them. */
export type Get = (name: string, above?: number) => number | undefined;

/** What every rule knows. */
export interface Given {
  /** [rotaryDim / 2]: base^(−2j / rotaryDim). Others have it too, so no rule writes to it. */
  plain: Float64Array;
  base: number;
  rotaryDim: number;
  seqLen: number;
  get: Get;
  /** A number that the rule cannot do without. */
  need: (name: string) => number;
  /** Numbers, as many as frequencies. */
  needList: (name: string) => number[];
  parameters: Readonly<Record<string, unknown>>;
}

/** Frequencies, and attentionScale where it is not 1. */
type Rule = (given: Given) => { frequencies: Float64Array; scale?: number };

const TWO_PI = 6.283185307179586;

/** Linear interpolation of positions (Chen et al., https://arxiv.org/abs/2306.15595). */
const linear: Rule = ({ plain, need }) => {
  const factor = need("factor");
  return { frequencies: plain.map((frequency) => frequency / factor) };
};

/**
 * Dynamic NTK (u/emozilla and u/bloc97, 2023; YaRN, https://arxiv.org/abs/2309.00071, B.2): the base is multiplied by
 * ratio^(rotaryDim / (rotaryDim − 2)), so that frequency j is divided by ratio^(j / (rotaryDim / 2 − 1)). `alpha` is the
 * ratio of HunYuan, whatever the context.
 */
const dynamic: Rule = ({ plain, seqLen, get, need }) => {
  let ratio = get("alpha");
  if (ratio === undefined) {
    const factor = need("factor");
    const most = need("max_position_embeddings");
    ratio = (factor * Math.max(seqLen, most)) / most - (factor - 1);
  }
  const last = Math.max(1, plain.length - 1);
  const stretch = frequenciesOf(ratio, last);
  return { frequencies: plain.map((frequency, j) => (j < last ? frequency * stretch[j]! : frequency / ratio)) };
};

/**
 * YaRN (Peng et al., https://arxiv.org/abs/2309.00071, 3.2 and 3.4): pairs that turn often in the original context keep
 * their frequency, those that turn seldom have it divided by factor, with a ramp between. As in the code of its authors
 * the ramp is linear in the number of the pair, and `truncate` (default true) rounds its ends to whole pairs.
 */
const yarn: Rule = ({ plain, base, rotaryDim, get, parameters }) => {
  checkFinite("base", base, 1);
  const original = originalContext(get);
  const factor = stretchOf(get, original);
  const scaleOf = (slope: number): number => (factor > 1 ? 0.1 * slope * logarithmOf(factor) + 1 : 1);
  const [mscale, ofAll] = [get("mscale", -Infinity), get("mscale_all_dim", -Infinity)];
  const scale = get("attention_factor") ?? (mscale && ofAll ? scaleOf(mscale) / scaleOf(ofAll) : scaleOf(1));
  const truncate = checkBoolean("truncate", parameters["truncate"] ?? true);
  const pairOf = (turns: number): number =>
    (rotaryDim * logarithmOf(original / (turns * TWO_PI))) / (2 * logarithmOf(base));
  let [low, high] = [pairOf(get("beta_fast") ?? 32), pairOf(get("beta_slow") ?? 1)];
  if (truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, rotaryDim - 1);
  if (high <= low) high = low + 0.001;
  const frequencies = plain.map((frequency, j) => {
    const ramp = Math.min(1, Math.max(0, (j - low) / (high - low)));
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
  return { frequencies, scale };
};

/**
 * LongRoPE (Ding et al., https://arxiv.org/abs/2402.13753; Phi-3, https://arxiv.org/abs/2404.14219): each frequency is
 * divided by its own factor, a long one where seqLen is beyond the original context. attentionScale is √(1 + ln factor /
 * ln original), with factor = max_position_embeddings / original_max_position_embeddings unless it is given; Phi-3.5-MoE
 * gives `short_mscale` and `long_mscale`.
 */
const longrope: Rule = ({ plain, seqLen, get, needList }) => {
  const original = originalContext(get);
  const factor = stretchOf(get, original);
  const kind = seqLen > original ? "long" : "short";
  const [shorts, longs] = [needList("short_factor"), needList("long_factor")];
  const factors = kind === "long" ? longs : shorts;
  const scale =
    get("attention_factor") ??
    get(`${kind}_mscale`) ??
    (factor > 1 ? Math.sqrt(1 + logarithmOf(factor) / logarithmOf(original)) : 1);
  return { frequencies: plain.map((frequency, j) => frequency / factors[j]!), scale };
};

/**
 * Llama 3.1 (`apply_scaling` of https://github.com/meta-llama/llama-models): as YaRN, with a ramp that is linear in how
 * often a pair turns in the original context, from low_freq_factor to high_freq_factor times.
 */
const llama3: Rule = ({ plain, get, need }) => {
  const original = originalContext(get);
  const factor = need("factor");
  const low = need("low_freq_factor");
  const high = need("high_freq_factor");
  if (high <= low) throw wrongValue("high_freq_factor", `a number greater than ${low} (low_freq_factor)`, high);
  const frequencies = plain.map((frequency) => {
    const turns = (original * frequency) / TWO_PI;
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return (frequency / factor) * (1 - kept) + frequency * kept;
  });
  return { frequencies };
};

/** Gemma 4 (transformers): the exponents of the whole head, of which the pairs behind partial_rotary_factor stand still. */
const proportional: Rule = ({ plain, rotaryDim, get }) => {
  const factor = get("factor") ?? 1;
  const turning = Math.floor(((get("partial_rotary_factor") ?? 1) * rotaryDim) / 2);
  return { frequencies: plain.map((frequency, j) => (j < turning ? frequency / factor : 0)) };
};

const unchanged: Rule = ({ plain }) => ({ frequencies: plain.slice() });

/** The names of rules, older ones too. */
export const RULES = {
  default: unchanged,
  linear,
  dynamic,
  yarn,
  longrope,
  llama3,
  proportional,
  su: longrope,
  mrope: unchanged,
};

/** Tokens of the context before it was stretched. */
function originalContext(get: Get): number {
  const name = "max_position_embeddings";
  const original = get(`original_${name}`, 1) ?? get(name, 1);
  if (original === undefined) throw wrongKind(`original_${name}`, "a number", original);
  return original;
}

/** By how much the context was stretched. */
function stretchOf(get: Get, original: number): number {
  const factor = get("factor") ?? (get("max_position_embeddings") ?? NaN) / original;
  return checkFinite("factor", factor, 0);
}
