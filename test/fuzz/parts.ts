// What the calls of the fuzzer are made of.
import { type Draw, type Given, type World, chance, floats, integer, list, literal, object, pick } from "./values.ts";

/** A function, its arguments, and how it is called with them. */
export interface Call {
  name: string;
  given: Given[];
  /** Whether every argument was meant to fit. */
  changed: boolean;
  run(...values: unknown[]): unknown;
  /** Gives back what was made for the call. */
  dispose?: () => void;
}

export interface Sizes {
  batch: number;
  numKvHeads: number;
  group: number;
  headDim: number;
  valueDim: number;
  rowsQ: number;
  rowsKv: number;
}

export type Options = Record<string, Given>;

export function sizesOf(draw: Draw): Sizes {
  return {
    batch: integer(draw, 1, 3),
    numKvHeads: integer(draw, 1, 2),
    group: integer(draw, 1, 3),
    headDim: pick(draw, [1, 2, 4, 8, 9]),
    valueDim: pick(draw, [1, 3, 8]),
    rowsQ: pick(draw, [0, 1, 2, 5]),
    rowsKv: pick(draw, [0, 1, 3, 12]),
  };
}

/** Adds an option to a call, in one of `one` cases. */
export function maybe(draw: Draw, options: Options, one: number, name: string, make: () => Given): void {
  if (chance(draw, one)) options[name] = make();
}

export function weightsOf(draw: Draw, world: World, features: Record<string, [number, number]>): Given {
  const one = ([out, inside]: [number, number]): Given => {
    const data = floats(draw, world, out * inside);
    const weight = chance(draw, 2) ? data : object({ data, shape: list([literal(out), literal(inside)]) });
    return object({ weight, ...(chance(draw, 2) && { bias: floats(draw, world, out) }) });
  };
  return object(Object.fromEntries(Object.entries(features).map(([name, sizes]) => [name, one(sizes)])));
}

export type Maker = (draw: Draw, world: World, s: Sizes) => Omit<Call, "name" | "changed">;
