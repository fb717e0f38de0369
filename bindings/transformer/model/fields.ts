import { checkInteger, checkObject, isObject, wrongKind, wrongValue } from "../../check.ts";
import type { Activation } from "../../layer/epilogue.ts";
import { rotaryFrequencies } from "../../rotary/frequencies.ts";
import type { RotaryForm } from "../../rotary/options.ts";

/** A config.json: its fields by their names. @category Models */
export type TransformerConfig = Readonly<Record<string, unknown>>;

/** Reads fields of a config, each by its name. */
export class Fields {
  readonly #config: TransformerConfig;

  constructor(config: unknown) {
    checkObject("config", config);
    this.#config = config as TransformerConfig;
  }

  /** The value of the first of these fields that is there; null counts as absent. */
  get(...names: readonly string[]): unknown {
    for (const name of names) {
      const value = Object.hasOwn(this.#config, name) ? this.#config[name] : undefined;
      if (value !== undefined && value !== null) return value;
    }
    return undefined;
  }

  /** A number from `low` on; without `otherwise` it must be there. */
  number(names: string | readonly string[], otherwise?: number, low = 1): number {
    const all = typeof names === "string" ? [names] : names;
    const value = this.get(...all) ?? otherwise;
    if (typeof value !== "number") throw wrongKind(`config.${all[0]!}`, "a number", value);
    if (!(value >= low && value < 2 ** 31)) throw wrongValue(`config.${all[0]!}`, `a number from ${low} on`, value);
    return value;
  }

  /** {@link number} that is an integer, of at most `high`. */
  size(names: string | readonly string[], otherwise?: number, low = 1, high = 2 ** 31 - 1): number {
    const value = this.number(names, otherwise, low);
    const name = typeof names === "string" ? names : names[0]!;
    return checkInteger(`config.${name}`, value, low, high);
  }

  boolean(name: string, otherwise: boolean): boolean {
    const value = this.get(name) ?? otherwise;
    if (typeof value !== "boolean") throw wrongKind(`config.${name}`, "a boolean", value);
    return value;
  }

  /** Refuses a field that is there and is none of `allowed`. */
  only(name: string, ...allowed: readonly unknown[]): void {
    const value = this.get(name);
    if (value === undefined || allowed.includes(value)) return;
    const expected = allowed.length > 0 ? allowed.map((one) => JSON.stringify(one)).join(" or ") : "nothing";
    throw wrongValue(`config.${name}`, expected, isObject(value) ? JSON.stringify(value) : value);
  }

  rotary(options: { headDim: number; base?: number; layerType?: string }): RotaryForm {
    return rotaryFrequencies(this.#config, options);
  }

  /** The rotary form of a base alone: parameters that stretch the frequencies are not meant for these layers. */
  plainRotary(headDim: number, base: number): RotaryForm {
    return rotaryFrequencies({ head_dim: headDim, rope_theta: base });
  }
}

/** What Hugging Face calls an activation, and what heed does. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu: "gelu",
  gelu_new: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
  gelu_fast: "gelu-tanh",
  relu: "relu",
  silu: "silu",
  swish: "silu",
};
const GATES: Partial<Record<Activation, Activation>> = { silu: "swiglu", gelu: "geglu", "gelu-tanh": "geglu-tanh" };

/** The activation that a field names; of a gate where `isGated`. */
export function activationOf(
  fields: Fields,
  names: readonly string[],
  isGated: boolean,
  otherwise?: string,
): Activation {
  const name = fields.get(...names) ?? otherwise;
  const known = typeof name === "string" && Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name]! : undefined;
  const activation = isGated ? known && GATES[known] : known;
  if (activation) return activation;
  throw wrongValue(`config.${names[0]!}`, `one of ${Object.keys(ACTIVATIONS).join(", ")}`, name);
}
