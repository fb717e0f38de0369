// The methods of an instance and of a cache that are fuzzed, with arguments that fit, of random sizes.
import { KvCache } from "../../bindings/api.ts";
import type { Heed } from "../../bindings/heed.ts";
import { attentionOptions, cacheSizes, output, rotaryForm, rows, scoreOptions, selection } from "./draw-options.ts";
import { type Maker, type Options, type Sizes, maybe, weightsOf } from "./parts.ts";
import {
  type Draw,
  type Given,
  type World,
  anyFloats,
  chance,
  floats,
  integer,
  integers,
  list,
  literal,
  object,
  pick,
} from "./values.ts";

const qkv = (draw: Draw, world: World, s: Sizes): [Given, Given, Given] => [
  floats(draw, world, rows(s) * s.headDim),
  floats(draw, world, s.batch * s.rowsKv * s.numKvHeads * s.headDim),
  floats(draw, world, s.batch * s.rowsKv * s.numKvHeads * s.valueDim),
];

type AnyHeed = Record<keyof Heed, (...values: unknown[]) => unknown>;
const method =
  ({ heed }: World, name: keyof Heed) =>
  (...values: unknown[]) =>
    (heed as unknown as AnyHeed)[name](...values);

export const MAKERS: Record<string, Maker> = {
  attention: (draw, world, s) => {
    const options = attentionOptions(draw, world, s);
    output(draw, world, rows(s) * s.valueDim, "out", options);
    maybe(draw, options, 3, "lse", () => (chance(draw, 2) ? literal(true) : floats(draw, world, rows(s))));
    return { given: [...qkv(draw, world, s), object(options)], run: method(world, "attention") };
  },
  attentionWeights: (draw, world, s) => {
    const options = attentionOptions(draw, world, s);
    selection(draw, world, s, options);
    return { given: [...qkv(draw, world, s).slice(0, 2), object(options)], run: method(world, "attentionWeights") };
  },
  merge: (draw, world, s) => {
    const heads = s.numKvHeads * s.group;
    const part = () => object({ out: anyFloats(draw, world, rows(s) * s.headDim), lse: floats(draw, world, rows(s)) });
    const options: Options = { numHeads: literal(heads), headDim: literal(s.headDim), batch: literal(s.batch) };
    maybe(draw, options, 3, "sinks", () => anyFloats(draw, world, heads));
    maybe(draw, options, 3, "layout", () => literal(pick(draw, ["blhd", "bhld"])));
    maybe(draw, options, 2, "out", () => anyFloats(draw, world, rows(s) * s.headDim));
    output(draw, world, rows(s), "lse", options);
    const parts = Array.from({ length: integer(draw, 1, 3) }, part);
    return { given: [list(parts), object(options)], run: method(world, "merge") };
  },
  rotary: (draw, world, s) => {
    const heads = s.numKvHeads * s.group;
    const headDim = Math.max(2, s.headDim);
    const x = anyFloats(draw, world, rows(s) * headDim);
    const options: Options = {
      numHeads: literal(heads),
      headDim: literal(headDim),
      batch: literal(s.batch),
      ...rotaryForm(draw, world, headDim, 20),
    };
    const axes = "sections" in options ? 2 : 1;
    maybe(draw, options, 2, "positions", () =>
      chance(draw, 2)
        ? literal(integer(draw, 0, 9))
        : integers(
            draw,
            Array.from({ length: axes * s.rowsQ * (chance(draw, 2) ? 1 : s.batch) }, () => integer(draw, 0, 19)),
          ),
    );
    maybe(draw, options, 3, "layout", () => literal(pick(draw, ["blhd", "bhld"])));
    if (chance(draw, 4)) options["out"] = x;
    else maybe(draw, options, 3, "out", () => anyFloats(draw, world, rows(s) * headDim));
    return { given: [x, object(options)], run: method(world, "rotary") };
  },
  linear: (draw, world, s) => {
    const activation = pick(draw, [undefined, "relu", "silu", "gelu", "gelu-tanh", "swiglu", "geglu", "geglu-tanh"]);
    const [inFeatures, features] = [s.headDim, s.valueDim];
    const outFeatures = activation?.includes("glu") ? 2 * features : features;
    const options: Options = { inFeatures: literal(inFeatures) };
    if (activation) options["activation"] = literal(activation);
    maybe(draw, options, 2, "outFeatures", () => literal(outFeatures));
    maybe(draw, options, 3, "transposed", () => literal(chance(draw, 2)));
    output(draw, world, s.rowsQ * features, "out", options);
    if (options["out"] && chance(draw, 2)) options["out"] = anyFloats(draw, world, s.rowsQ * features);
    maybe(draw, options, 3, "residual", () => anyFloats(draw, world, s.rowsQ * features));
    if (options["out"] && chance(draw, 4)) options["residual"] = options["out"];
    const bias = chance(draw, 2) ? anyFloats(draw, world, outFeatures) : literal(undefined);
    const given = [
      anyFloats(draw, world, s.rowsQ * inFeatures),
      anyFloats(draw, world, inFeatures * outFeatures),
      bias,
    ];
    return { given: [...given, object(options)], run: method(world, "linear") };
  },
  packLinear: (draw, world, s) => ({
    given: [
      anyFloats(draw, world, s.headDim * s.valueDim),
      chance(draw, 2) ? anyFloats(draw, world, s.valueDim) : literal(undefined),
      object({
        inFeatures: literal(s.headDim),
        ...(chance(draw, 2) && { dtype: literal(pick(draw, ["f32", "int8", "q4"])) }),
      }),
    ],
    run: method(world, "packLinear"),
  }),
  tensor: (draw, world) => ({ given: [literal(integer(draw, 0, 99))], run: method(world, "tensor") }),
  createKvCache: (draw, world, s) => {
    const options: Options = {
      numKvHeads: literal(s.numKvHeads),
      headDim: literal(s.headDim * 2),
      capacity: literal(integer(draw, 0, 20)),
    };
    maybe(draw, options, 2, "batch", () => literal(s.batch));
    maybe(draw, options, 3, "valueDim", () => literal(s.valueDim));
    maybe(draw, options, 2, "window", () => literal(integer(draw, 0, 9)));
    maybe(draw, options, 4, "firstPosition", () => literal(integer(draw, -9, 9)));
    maybe(draw, options, 2, "rotary", () => object(rotaryForm(draw, world, s.headDim * 2, 20)));
    const dtype = () => literal(pick(draw, ["f32", "f16", "int8"]));
    maybe(draw, options, 2, "dtype", () => (chance(draw, 2) ? dtype() : object({ k: dtype(), v: dtype() })));
    return { given: [object(options)], run: method(world, "createKvCache") };
  },
  append: (draw, world, plain) => {
    const s = cacheSizes(plain, world);
    const tokens = integer(draw, 0, 3);
    const dims = s.batch * tokens * s.numKvHeads;
    const options: Options = {};
    maybe(draw, options, 3, "layout", () => literal(pick(draw, ["blhd", "bhld"])));
    maybe(draw, options, 4, "positions", () =>
      integers(
        draw,
        Array.from({ length: (chance(draw, 2) ? s.batch : 1) * tokens }, () => integer(draw, 0, 19)),
      ),
    );
    maybe(draw, options, 3, "lengths", () =>
      integers(
        draw,
        Array.from({ length: s.batch }, () => integer(draw, 0, tokens)),
      ),
    );
    return {
      given: [floats(draw, world, dims * s.headDim), floats(draw, world, dims * s.valueDim), object(options)],
      run: (k, v, given) => {
        world.cache.append(k as Float32Array, v as Float32Array, given as object);
      },
    };
  },
  "cache.attention": (draw, world, plain) => {
    const s = cacheSizes(plain, world);
    const options: Options = { numHeads: literal(s.numKvHeads * s.group) };
    scoreOptions(draw, world, s, options);
    output(draw, world, rows(s) * s.valueDim, "out", options);
    maybe(draw, options, 3, "lse", () => literal(true));
    const given = [floats(draw, world, rows(s) * s.headDim), object(options)];
    return { given, run: (q, given) => world.cache.attention(q as Float32Array, given as { numHeads: number }) };
  },
  "cache.attentionWeights": (draw, world, plain) => {
    const s = cacheSizes(plain, world);
    const options: Options = { numHeads: literal(s.numKvHeads * s.group) };
    scoreOptions(draw, world, s, options);
    selection(draw, world, s, options);
    const given = [floats(draw, world, rows(s) * s.headDim), object(options)];
    return { given, run: (q, given) => world.cache.attentionWeights(q as Float32Array, given as { numHeads: number }) };
  },
  truncate: (draw, world) => {
    const { lengths } = world.cache;
    const to = Array.from(lengths, (length) => integer(draw, 0, length));
    const length = chance(draw, 2) ? literal(Math.min(...to)) : integers(draw, to);
    return {
      given: [length],
      run: (to) => {
        world.cache.truncate(to as number);
      },
    };
  },
  reorder: (draw, world) => ({
    given: [
      integers(
        draw,
        Array.from({ length: world.cache.batch }, () => integer(draw, 0, world.cache.batch - 1)),
      ),
    ],
    run: (indices) => {
      world.cache.reorder(indices as Int32Array);
    },
  }),
  fork: (_, world) => ({ given: [], run: () => world.cache.fork() }),
  prefix: (draw, world) => ({
    given: [literal(integer(draw, 0, Math.min(...world.cache.lengths)))],
    run: (length) => KvCache.prefix(world.cache, length as number),
  }),
  keep: (draw, world) => {
    const lists = Array.from(world.cache.lengths, (length) =>
      integers(
        draw,
        Array.from({ length }, (_, token) => token).filter(() => chance(draw, 2)),
      ),
    );
    return {
      given: [list(lists)],
      run: (indices) => {
        world.cache.keep(indices as Int32Array[]);
      },
    };
  },
  add: (draw, world) => ({ given: [literal(integer(draw, 0, 3))], run: (count) => world.cache.add(count as number) }),
  remove: (draw, world) => ({
    given: [literal(integer(draw, 0, world.cache.batch - 1))],
    run: (b) => {
      world.cache.remove(b as number);
    },
  }),
  save: (draw, world) => {
    const options: Options = {};
    maybe(draw, options, 2, "from", () => literal(integer(draw, 0, Math.min(...world.cache.lengths))));
    return { given: [object(options)], run: (given) => world.cache.save(given as object) };
  },
  read: (draw, world) => {
    const b = integer(draw, 0, world.cache.batch - 1);
    const from = integer(draw, 0, world.cache.lengths[b]!);
    return {
      given: [literal(b), literal(from)],
      run: (b, from) => world.cache.read(b as number, from as number),
    };
  },
  restoreKvCache: (_, world) => ({
    given: [{ value: world.cache.save(), text: "cache.save()" }],
    run: method(world, "restoreKvCache"),
  }),
  createMultiHeadAttention: (draw, world, s) => {
    const [embedDim, heads] = [s.valueDim * 2, s.numKvHeads * s.group];
    const features: Record<string, [number, number]> = {
      q: [heads * s.headDim, embedDim],
      k: [s.numKvHeads * s.headDim, embedDim],
      v: [s.numKvHeads * s.headDim, embedDim],
    };
    if (chance(draw, 2)) features["out"] = [embedDim, heads * s.headDim];
    const options: Options = {
      numHeads: literal(heads),
      embedDim: literal(embedDim),
      headDim: literal(s.headDim),
      numKvHeads: literal(s.numKvHeads),
    };
    maybe(draw, options, 2, "weights", () => weightsOf(draw, world, features));
    maybe(draw, options, 3, "weightDtype", () => literal(pick(draw, ["f32", "int8", "q4"])));
    if (s.headDim > 1) maybe(draw, options, 3, "rotary", () => object(rotaryForm(draw, world, s.headDim, 20)));
    maybe(draw, options, 3, "causal", () => literal(true));
    maybe(draw, options, 4, "sinks", () => floats(draw, world, heads));
    maybe(draw, options, 4, "window", () => object({ left: literal(integer(draw, 0, 4)) }));
    return { given: [object(options)], run: method(world, "createMultiHeadAttention") };
  },
  forward: (draw, world, plain) => {
    const s = { ...cacheSizes(plain, world), group: 2 };
    const embedDim = 6;
    const features: Record<string, [number, number]> = {
      q: [s.numKvHeads * 2 * s.headDim, embedDim],
      k: [s.numKvHeads * s.headDim, embedDim],
      v: [s.numKvHeads * s.valueDim, embedDim],
      out: [embedDim, s.numKvHeads * 2 * s.valueDim],
    };
    const weights = weightsOf(draw, world, features).value;
    const sizes = { numHeads: s.numKvHeads * 2, numKvHeads: s.numKvHeads, headDim: s.headDim, valueDim: s.valueDim };
    const tokens = integer(draw, 0, 3);
    const options: Options = {};
    if (chance(draw, 2)) options["cache"] = { value: world.cache, text: "cache" };
    else options["batch"] = literal(s.batch);
    maybe(draw, options, 3, "causal", () => literal(true));
    maybe(draw, options, 3, "lse", () => literal(true));
    maybe(draw, options, 4, "weights", () => (chance(draw, 2) ? literal(true) : object({ topK: literal(2) })));
    if (!options["cache"]) maybe(draw, options, 4, "context", () => floats(draw, world, s.batch * 2 * embedDim));
    else maybe(draw, options, 4, "append", () => literal(chance(draw, 2)));
    output(draw, world, s.batch * tokens * embedDim, "out", options);
    return {
      given: [floats(draw, world, s.batch * tokens * embedDim), object(options)],
      run: (x, given) => {
        const layer = world.heed.createMultiHeadAttention({ ...sizes, embedDim, weights } as never);
        try {
          return layer.forward(x as Float32Array, given as object);
        } finally {
          layer.dispose();
        }
      },
    };
  },
};
