// What heed computes in the tables of attention, decoding, layers and weights, on any instance of heed.
import type { Heed } from "heed";
import type { Contender } from "../harness/entrant.ts";
import { makeLayerProblem, makeLinearProblem } from "../harness/layer-problems.ts";
import { makeProblem, shape } from "../harness/problem.ts";
import {
  attentionContenders,
  decodeContender,
  layerContender,
  linearContenders,
  weightsContenders,
} from "../peers/heed-contenders.ts";
import {
  DECODE_CASES,
  LAYER,
  LAYER_NAME,
  PRODUCTS,
  SHAPES,
  WEIGHTS_CASES,
  WEIGHTS_SHAPES,
  nameOfProduct,
} from "./shapes.ts";

export interface HeedCase {
  table: "attention" | "decode" | "layer" | "weights";
  what: string;
  /** Part of `--quick`. */
  quick: boolean;
  /** Names for the first contenders; those after them are not meant. */
  forms: readonly string[];
  /** Makes the inputs, once for all instances, and returns what makes the contenders of one. */
  open(): (heed: Heed) => Contender[];
}

export const HEED_CASES: readonly HeedCase[] = [
  ...SHAPES.map((one): HeedCase => ({
    table: "attention",
    what: one.name,
    quick: one.quick ?? false,
    forms: ["copied", "resident"],
    open: () => {
      const problem = makeProblem(one);
      return (heed) => attentionContenders(heed, problem);
    },
  })),
  ...DECODE_CASES.flatMap(({ dims, dtypes }, n) =>
    dtypes.map((dtype): HeedCase => ({
      table: "decode",
      what: `decode ${dims} ${dtype}`,
      quick: n === 0,
      forms: ["cached"],
      open: () => {
        const problem = makeProblem(shape(dims));
        return (heed) => [decodeContender(heed, problem, dtype)];
      },
    })),
  ),
  ...PRODUCTS.map((product, n): HeedCase => ({
    table: "layer",
    what: nameOfProduct(product),
    quick: n === 0,
    forms: ["copied", "resident"],
    open: () => {
      const problem = makeLinearProblem(product);
      return (heed) => linearContenders(heed, problem);
    },
  })),
  {
    table: "layer",
    what: LAYER_NAME,
    quick: false,
    forms: ["copied"],
    open: () => {
      const problem = makeLayerProblem(LAYER);
      return (heed) => [layerContender(heed, problem)];
    },
  },
  ...WEIGHTS_SHAPES.flatMap((dims, n) =>
    WEIGHTS_CASES.map(({ what, selection }): HeedCase => ({
      table: "weights",
      what: `${what} ${dims}`,
      quick: n === 0,
      forms: ["cached"],
      open: () => {
        const problem = makeProblem(shape(dims));
        return (heed) => weightsContenders(heed, problem, selection);
      },
    })),
  ),
];
