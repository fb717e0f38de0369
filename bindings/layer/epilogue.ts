import { checkChoice } from "../check.ts";
import { ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_SILU } from "../engine/abi.ts";

/**
 * What becomes of x·Wᵀ + bias. `gelu` is x·Φ(x), `gelu-tanh` its approximation by tanh (Hendrycks and Gimpel,
 * https://arxiv.org/abs/1606.08415), `silu` x / (1 + e^−x). The last three are gates (Shazeer,
 * https://arxiv.org/abs/2002.05202): the first half of the output features goes through SiLU or GELU, and is multiplied
 * by the second half.
 *
 * @category Layer and linear
 */
export type Activation = "relu" | "silu" | "gelu" | "gelu-tanh" | "swiglu" | "geglu" | "geglu-tanh";

const NUMBERS: Record<Activation, number> = {
  relu: ACT_RELU,
  silu: ACT_SILU,
  gelu: ACT_GELU,
  "gelu-tanh": ACT_GELU_TANH,
  swiglu: ACT_SILU,
  geglu: ACT_GELU,
  "geglu-tanh": ACT_GELU_TANH,
};

/** A checked activation: its number for the kernels, and whether it is a gate. */
export interface CheckedActivation {
  number: number;
  isGated: boolean;
}

/** Checks the name of an activation. */
export function checkActivation(name: unknown): CheckedActivation {
  if (name === undefined) return { number: 0, isGated: false };
  const activation = checkChoice("activation", name, Object.keys(NUMBERS) as Activation[]);
  return { number: NUMBERS[activation], isGated: activation.includes("glu") };
}
