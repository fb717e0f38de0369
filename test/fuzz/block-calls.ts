// The functions of heed/transformer that are fuzzed, with arguments that fit, of random sizes.
import type { Blocks } from "../../bindings/transformer/blocks.ts";
import { output } from "./draw-options.ts";
import { type Maker, type Options, maybe } from "./parts.ts";
import { type Draw, type World, bytes, chance, floats, integer, integers, literal, object, pick } from "./values.ts";

type AnyBlocks = Record<keyof Blocks, (...values: unknown[]) => unknown>;
const method =
  ({ blocks }: World, name: keyof Blocks) =>
  (...values: unknown[]) =>
    (blocks as unknown as AnyBlocks)[name](...values);

const norm =
  (name: "rmsNorm" | "layerNorm"): Maker =>
  (draw, world, { rowsQ, valueDim: dim }) => {
    const options: Options = { dim: literal(dim) };
    maybe(draw, options, 2, "weight", () => floats(draw, world, dim));
    maybe(draw, options, 3, "eps", () => literal(pick(draw, [1e-12, 0.5])));
    if (name === "layerNorm") maybe(draw, options, 2, "bias", () => floats(draw, world, dim));
    else if (options["weight"]) maybe(draw, options, 2, "unitOffset", () => literal(true));
    if (chance(draw, 2)) {
      options["residual"] = floats(draw, world, rowsQ * dim);
      maybe(draw, options, 2, "sum", () => (chance(draw, 2) ? literal(true) : floats(draw, world, rowsQ * dim)));
    }
    output(draw, world, rowsQ * dim, "out", options);
    return { given: [floats(draw, world, rowsQ * dim), object(options)], run: method(world, name) };
  };

/** A function of rows of `dim`, of which out has as many. */
const byRow =
  (name: "l2Normalize" | "softmax" | "scaleLogits", more: (draw: Draw, options: Options) => void): Maker =>
  (draw, world, { rowsQ, valueDim: dim }) => {
    const options: Options = name === "scaleLogits" ? {} : { dim: literal(dim) };
    more(draw, options);
    output(draw, world, rowsQ * dim, "out", options);
    return { given: [floats(draw, world, rowsQ * dim), object(options)], run: method(world, name) };
  };

const positive = (draw: Draw) => literal(pick(draw, [0.5, 1e-6, 30]));
const numbers = (draw: Draw, length: number, below: number) =>
  integers(
    draw,
    Array.from({ length }, () => integer(draw, 0, below - 1)),
  );

export const BLOCK_MAKERS: Record<string, Maker> = {
  rmsNorm: norm("rmsNorm"),
  layerNorm: norm("layerNorm"),
  l2Normalize: byRow("l2Normalize", (draw, options) => maybe(draw, options, 3, "eps", () => positive(draw))),
  softmax: byRow("softmax", (draw, options) => maybe(draw, options, 2, "scale", () => positive(draw))),
  scaleLogits: byRow("scaleLogits", (draw, options) => {
    maybe(draw, options, 2, "scale", () => literal(pick(draw, [-2, 0, 0.1])));
    maybe(draw, options, 2, "softcap", () => positive(draw));
  }),
  activate: (draw, world, { rowsQ, headDim: dim }) => {
    const activation = pick(draw, ["relu", "silu", "gelu", "gelu-tanh", "swiglu", "geglu", "geglu-tanh"]);
    const options: Options = { activation: literal(activation) };
    const isHalved = activation.includes("glu") && chance(draw, 2);
    if (isHalved) options["dim"] = literal(dim);
    else if (activation.includes("glu")) options["up"] = floats(draw, world, rowsQ * dim);
    output(draw, world, rowsQ * dim, "out", options);
    const x = floats(draw, world, rowsQ * dim * (isHalved ? 2 : 1));
    return { given: [x, object(options)], run: method(world, "activate") };
  },
  embed: (draw, world, { rowsQ, valueDim: dim }) => {
    const options: Options = { table: floats(draw, world, 5 * dim), dim: literal(dim) };
    maybe(draw, options, 3, "scale", () => literal(-0.3));
    if (chance(draw, 2)) {
      options["positionTable"] = floats(draw, world, 12 * dim);
      maybe(draw, options, 2, "positions", () => (chance(draw, 2) ? literal(7) : numbers(draw, rowsQ, 12)));
    }
    if (chance(draw, 2)) {
      options["typeTable"] = floats(draw, world, 2 * dim);
      maybe(draw, options, 2, "types", () => numbers(draw, rowsQ, 2));
    }
    output(draw, world, rowsQ * dim, "out", options);
    return { given: [numbers(draw, rowsQ, 5), object(options)], run: method(world, "embed") };
  },
  pool: (draw, world, { batch, rowsQ, valueDim: dim }) => {
    const options: Options = { dim: literal(dim) };
    maybe(draw, options, 2, "pooling", () => literal(pick(draw, ["mean", "cls", "last"])));
    if (chance(draw, 2)) {
      options["batch"] = literal(batch);
      maybe(draw, options, 2, "lengths", () => numbers(draw, batch, rowsQ + 1));
    } else {
      const starts = Array.from({ length: batch + 1 }, (_, n) => n * rowsQ);
      options["cuSeqlens"] = integers(draw, starts);
    }
    maybe(draw, options, 2, "keepMask", () => bytes(draw, batch * rowsQ));
    output(draw, world, batch * dim, "out", options);
    return { given: [floats(draw, world, batch * rowsQ * dim), object(options)], run: method(world, "pool") };
  },
  sample: (draw, world, { rowsQ, headDim: vocabSize }) => {
    const options: Options = { vocabSize: literal(vocabSize), seed: literal(integer(draw, 0, 99)) };
    maybe(draw, options, 4, "seed", () => numbers(draw, rowsQ, 99));
    maybe(draw, options, 2, "temperature", () => literal(pick(draw, [0, 0.1, 1e-30, 9])));
    maybe(draw, options, 2, "topK", () => literal(pick(draw, [1, 3, 1e9])));
    maybe(draw, options, 2, "topP", () => literal(pick(draw, [1e-9, 0.5, 1])));
    maybe(draw, options, 3, "step", () => literal(integer(draw, 0, 99)));
    maybe(draw, options, 3, "tokens", () => numbers(draw, rowsQ, 1));
    return { given: [floats(draw, world, rowsQ * vocabSize), object(options)], run: method(world, "sample") };
  },
};
