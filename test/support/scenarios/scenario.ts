import type { Heed } from "../../../bindings/heed.ts";
import type { Tensor } from "../../../bindings/memory/tensor.ts";
import { floats, uniform } from "../random.ts";

export type Numbers = Float32Array | Int32Array | Uint8Array | Uint16Array;

/** One call, made ready up to the call itself. */
export interface Scenario {
  /** The call: what it returned, copied. What it made it has disposed of. */
  act(): Numbers[];
  /** What a call that fails must leave as it was: the outputs that the caller gave, tokens, weights; copied. */
  state(): Numbers[];
}

/** Scenarios by name; each is made anew for every instance, and is always the same. */
export type Scenarios = Record<string, (heed: Heed) => Scenario>;

/** A scenario without a state. */
export function stateless(act: () => Numbers[]): Scenario {
  return { act, state: () => [] };
}

/** What a function returned: its arrays, and the floats of its Tensors, copied. */
export function copies(result: object): Numbers[] {
  return Object.values(result).map((value: Numbers | Tensor) => ("data" in value ? value.data : value).slice());
}

/** `length` floats of variance 1. */
export function random(length: number, seed = 1): Float32Array<ArrayBuffer> {
  return floats(length, uniform(seed));
}

/** The same in a Tensor. */
export function randomTensor(heed: Heed, length: number, seed = 1): Tensor {
  const tensor = heed.tensor(length);
  tensor.data.set(random(length, seed));
  return tensor;
}
