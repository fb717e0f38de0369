// The activations of heed.linear in plain lines: in f64 the oracle, with Math.fround the plain f32 implementation.
import type { Activation } from "../../bindings/layer/epilogue.ts";
import { type Round, exactly } from "./rounding.ts";

/** Φ(x), the normal distribution, to about 1e-15 of itself. */
export function phi(x: number): number {
  const a = Math.abs(x);
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (a < 3) {
    let sum = 0;
    let term = a;
    for (let k = 1; term > 1e-20 * sum; k++) {
      sum += term;
      term *= (a * a) / (2 * k + 1);
    }
    return 0.5 + Math.sign(x) * density * sum;
  }
  let fraction = a;
  for (let k = 200; k > 0; k--) fraction = a + k / fraction;
  const tail = density / fraction;
  return x < 0 ? tail : 1 - tail;
}

type Plain = (x: number, round: Round) => number;

const silu: Plain = (x, round) => round(x / round(1 + round(Math.exp(-x))));
const gelu: Plain = (x, round) => {
  if (round === exactly) return x * phi(x);
  const erf = round(2 * phi(Math.SQRT2 * round(x * Math.fround(Math.SQRT1_2))) - 1);
  return round(round(0.5 * x) * round(1 + erf));
};
const geluTanh: Plain = (x, round) => {
  const cubic = round(0.044715 * round(round(x * x) * x));
  const u = round(round(Math.sqrt(2 / Math.PI)) * round(x + cubic));
  return round(round(0.5 * x) * round(1 + round(Math.tanh(u))));
};

/** act(x), where a gate stands for the activation that it applies. */
export function activationReference(name: Activation, x: number, round: Round = exactly): number {
  if (name === "relu") return Math.max(x, 0);
  if (name === "silu" || name === "swiglu") return silu(x, round);
  return name === "gelu" || name === "geglu" ? gelu(x, round) : geluTanh(x, round);
}

/** The whole epilogue over products [rows, features] that have their bias; a gate halves the features. */
export function epilogueReference(
  products: Float64Array,
  features: number,
  name: Activation | undefined,
  residual: ArrayLike<number> | undefined,
  round: Round = exactly,
): Float64Array {
  const isGated = name?.includes("glu") ?? false;
  const width = isGated ? features / 2 : features;
  return Float64Array.from({ length: (products.length / features) * width }, (_, at) => {
    const first = Math.floor(at / width) * features + (at % width);
    let value = products[first]!;
    if (name) value = activationReference(name, value, round);
    if (isGated) value = round(value * products[first + width]!);
    return residual ? round(value + residual[at]!) : value;
  });
}
