// Options that fit the sizes of a call, each given now and then.
import { type Options, type Sizes, maybe } from "./parts.ts";
import {
  type Draw,
  type Given,
  type World,
  anyFloats,
  bytes,
  chance,
  floats,
  integer,
  integers,
  list,
  literal,
  object,
  pick,
} from "./values.ts";

function broadcastShape(draw: Draw, target: readonly number[]): number[] {
  return target.map((size) => (chance(draw, 3) ? 1 : size)).slice(integer(draw, 0, 3));
}

const product = (shape: readonly number[]): number => shape.reduce((all, size) => all * size, 1);

function shapedData(draw: Draw, target: readonly number[], make: (length: number) => Given): Given {
  const shape = broadcastShape(draw, target);
  return object({ data: make(product(shape)), shape: list(shape.map(literal)) });
}

/** The options that say what is computed. */
export function scoreOptions(draw: Draw, world: World, s: Sizes, options: Options): void {
  const heads = s.numKvHeads * s.group;
  const target = [s.batch, heads, s.rowsQ, s.rowsKv];
  maybe(draw, options, 3, "causal", () => literal(chance(draw, 2)));
  maybe(draw, options, 6, "scale", () => literal(integer(draw, -2, 2) / 2));
  maybe(draw, options, 6, "softcap", () => literal(integer(draw, 1, 30)));
  maybe(draw, options, 6, "queryOffset", () =>
    chance(draw, 2)
      ? literal(integer(draw, -3, 9))
      : integers(
          draw,
          Array.from({ length: s.batch }, () => integer(draw, -3, 9)),
        ),
  );
  maybe(draw, options, 5, "window", () =>
    object({
      ...(chance(draw, 2) && { left: literal(pick(draw, [0, 1, 4, Infinity])) }),
      ...(chance(draw, 2) && { right: literal(integer(draw, 0, 4)) }),
    }),
  );
  maybe(draw, options, 5, "keepMask", () => shapedData(draw, target, (length) => bytes(draw, length)));
  maybe(draw, options, 5, "bias", () => shapedData(draw, target, (length) => floats(draw, world, length)));
  maybe(draw, options, 6, "alibiSlopes", () => floats(draw, world, chance(draw, 2) ? heads : heads * s.batch));
  maybe(draw, options, 6, "sinks", () => floats(draw, world, heads));
  maybe(draw, options, 6, "reproducible", () => literal(chance(draw, 2)));
  maybe(draw, options, 6, "precision", () => literal(chance(draw, 2) ? "half" : "full"));
}

export function sizeOptions(draw: Draw, s: Sizes): Options {
  const options: Options = { numHeads: literal(s.numKvHeads * s.group), headDim: literal(s.headDim) };
  if (s.group > 1 || chance(draw, 4)) options["numKvHeads"] = literal(s.numKvHeads);
  if (s.valueDim !== s.headDim || chance(draw, 4)) options["valueDim"] = literal(s.valueDim);
  if (s.batch > 1 || chance(draw, 4)) options["batch"] = literal(s.batch);
  maybe(draw, options, 4, "layout", () => literal(pick(draw, ["blhd", "bhld"])));
  return options;
}

export const output = (draw: Draw, world: World, length: number, name: string, options: Options): void => {
  maybe(draw, options, 4, name, () => floats(draw, world, length));
};

export function attentionOptions(draw: Draw, world: World, s: Sizes): Options {
  const options = sizeOptions(draw, s);
  scoreOptions(draw, world, s, options);
  maybe(draw, options, 5, "kvLengths", () =>
    integers(
      draw,
      Array.from({ length: s.batch }, () => integer(draw, 0, s.rowsKv)),
    ),
  );
  return options;
}

export const rows = (s: Sizes): number => s.batch * s.rowsQ * s.numKvHeads * s.group;

export function selection(draw: Draw, world: World, s: Sizes, options: Options): void {
  const heads = s.numKvHeads * s.group;
  const subset = (count: number): Given => {
    const places = Array.from({ length: count === 0 ? 0 : integer(draw, 0, 3) }, () => integer(draw, 0, count - 1));
    return chance(draw, 2) ? integers(draw, places) : list(places.map(literal));
  };
  maybe(draw, options, 3, "rows", () => subset(s.rowsQ));
  maybe(draw, options, 3, "heads", () => subset(heads));
  maybe(draw, options, 3, "reduce", () => literal(pick(draw, ["mean", "keySum"])));
  maybe(draw, options, 3, "topK", () => literal(integer(draw, 1, 5)));
  maybe(draw, options, 4, "entropy", () => literal(chance(draw, 2)));
  maybe(draw, options, 9, "stage", () => literal(pick(draw, ["scores", "softcap", "masked", "softmax"])));
  maybe(draw, options, 8, "lse", () => floats(draw, world, rows(s)));
}

export const cacheSizes = (s: Sizes, { cache }: World): Sizes => ({
  ...s,
  batch: cache.batch,
  numKvHeads: cache.numKvHeads,
  headDim: cache.headDim,
  valueDim: cache.valueDim,
  rowsKv: cache.length,
});

export function rotaryForm(draw: Draw, world: World, headDim: number, positions: number): Options {
  const options: Options = {};
  const rotaryDim = Math.max(2, Math.floor(headDim / 2) * 2);
  if (rotaryDim !== headDim) options["rotaryDim"] = literal(rotaryDim);
  maybe(draw, options, 3, "interleaved", () => literal(chance(draw, 2)));
  const kind = integer(draw, 0, 5);
  if (kind < 2) {
    options["cos"] = anyFloats(draw, world, (positions * rotaryDim) / 2);
    options["sin"] = anyFloats(draw, world, (positions * rotaryDim) / 2);
  } else if (kind === 2) {
    options["frequencies"] = frequencies(draw, rotaryDim / 2);
  } else maybe(draw, options, 3, "base", () => literal(pick(draw, [0.5, 2, 10000, 5e5])));
  maybe(draw, options, 4, "attentionScale", () => literal(pick(draw, [0.5, 1, 1.19])));
  if (chance(draw, 4)) {
    const first = integer(draw, 0, rotaryDim / 2);
    options["sections"] = list([first, rotaryDim / 2 - first].map(literal));
  }
  return options;
}

function frequencies(draw: Draw, length: number): Given {
  const numbers = Array.from({ length }, () => pick(draw, [0, -1, 0.1, 7, 1e30]));
  const value = chance(draw, 2) ? Float32Array.from(numbers) : Float64Array.from(numbers);
  return { value, text: `Float64Array[${value.join()}]` };
}
