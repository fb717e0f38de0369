// KvCache against attention over the concatenated keys, whatever was done to the cache before.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KvCache } from "../../bindings/api.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Cache, Model, expectRight } from "../support/kv-model.ts";
import { randomBias, randomMask } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { runs } from "../support/sweep.ts";

type Options = Omit<PlainOptions, "headDim">;

const dtype = fc.constantFrom("f32" as const, "f16" as const, "int8" as const);
const dim = fc.oneof(fc.integer({ min: 1, max: 21 }), fc.constantFrom(8, 16, 24, 64));
const newTokens = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.constantFrom(17, 100, 127, 128, 129, 200));
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 1 });

const steps = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("append" as const), newTokens, ragged: fc.boolean(), bhld: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("truncate" as const), ragged: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("reset" as const, "reorder" as const, "reorder" as const, "fork" as const),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("keep" as const, "keep" as const, "add" as const, "remove" as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("prefix" as const, "restore" as const) }) },
);

const scripts = fc.record({
  seed: fc.integer(),
  batch: fc.integer({ min: 1, max: 3 }),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  headDim: dim,
  valueDim: dim,
  k: dtype,
  v: dtype,
  window: maybe(fc.constantFrom(0, 3, 100, 127, 128, 200)),
  steps: fc.array(steps, { minLength: 1, maxLength: 7 }),
});

/** Options at random, of which each comes up in a third of the calls. */
function optionsOf(model: Model, group: number, seqLenQ: number, next: () => number): Options {
  const { batch, numKvHeads } = model.dims;
  const numHeads = numKvHeads * group;
  const third = () => next() < 1 / 3;
  const shape = [batch, numHeads, seqLenQ, model.length].map((size) => (third() ? 1 : size)).slice(integer(0, 3, next));
  const options: Options = { numHeads, causal: next() < 0.5 };
  if (third()) options.window = { left: integer(0, 300, next), right: integer(0, 9, next) };
  if (third()) options.softcap = 1 + 9 * next();
  if (third()) options.sinks = floats(numHeads, next);
  if (third()) options.alibiSlopes = Float32Array.from({ length: numHeads * (third() ? batch : 1) }, () => next() / 20);
  if (third()) options.bias = randomBias(shape, third() ? 0.2 : 0, integer(0, 1e9, next));
  if (third()) options.keepMask = randomMask(shape, integer(0, 1e9, next));
  if (third()) options.scale = 2 * next() - 1;
  if (third()) options.layout = "bhld";
  // A window may have given back what stands before the newest tokens.
  if (model.window === undefined && third()) options.queryOffset = integer(-3, model.length + 3, next);
  return options;
}

/** k and v for `newTokens` tokens as [batch, newTokens, numKvHeads, dim], small and large rows among them. */
function tokens({ dims: { batch, numKvHeads, headDim, valueDim } }: Model, newTokens: number, next: () => number) {
  const rows = batch * newTokens * numKvHeads;
  const k = floats(rows * headDim, next);
  const v = floats(rows * valueDim, next);
  for (let row = 0; row < rows; row++) {
    const factor = next() < 0.1 ? 10 ** (4 * next() - 4) : 1;
    for (let d = row * headDim; d < (row + 1) * headDim; d++) k[d]! *= factor;
    for (let d = row * valueDim; d < (row + 1) * valueDim; d++) v[d]! *= factor;
  }
  return { k, v };
}

/** [batch, rows, heads, dim] as [batch, heads, rows, dim]. */
function byHeads(from: Float32Array, batch: number, rows: number, heads: number): Float32Array<ArrayBuffer> {
  const dim = from.length / (batch * rows * heads);
  const to = new Float32Array(from.length);
  for (let n = 0; n < batch * rows * heads; n++) {
    const [b, row, head] = [Math.floor(n / (rows * heads)), Math.floor(n / heads) % rows, n % heads];
    to.set(from.subarray(n * dim, (n + 1) * dim), ((b * heads + head) * rows + row) * dim);
  }
  return to;
}

/** Some of the tokens [from, to): single ones, runs, and whole pages among them. */
function someTokens(from: number, to: number, next: () => number): Int32Array {
  const tokens: number[] = [];
  for (let token = from; token < to;) {
    const isKept = next() < 0.6;
    let end = Math.min(to, token + [1, 2, 30, 128][integer(0, 3, next)]!);
    if (next() < 0.3) end = Math.min(to, Math.ceil((token + 1) / 128) * 128);
    for (; token < end; token++) if (isKept) tokens.push(token);
  }
  return Int32Array.from(tokens);
}

/** Does a step to the cache and to the model. */
function take(
  step: typeof steps extends fc.Arbitrary<infer S> ? S : never,
  cache: Cache,
  model: Model,
  next: () => number,
) {
  const { batch, numKvHeads } = model.dims;
  if (step.kind === "append") {
    const { k, v } = tokens(model, step.newTokens, next);
    const lengths = step.ragged
      ? Int32Array.from({ length: batch }, () => integer(0, step.newTokens, next))
      : undefined;
    const swap = (rows: Float32Array<ArrayBuffer>) =>
      step.bhld && rows.length > 0 ? byHeads(rows, batch, step.newTokens, numKvHeads) : rows;
    cache.append(swap(k), swap(v), { layout: step.bhld ? "bhld" : "blhd", lengths });
    model.append(k, v, lengths);
  } else if (step.kind === "truncate") {
    // A window takes back what it still has, or everything.
    const lengths = model.lengths.map((length, b) =>
      next() < 0.15 ? 0 : integer(model.window === undefined ? 0 : model.horizon[b]!, length, next),
    );
    if (step.ragged || (model.window !== undefined && Math.min(...lengths) > 0)) {
      cache.truncate(lengths);
      model.truncate(lengths);
    } else {
      const length = Math.min(...lengths);
      cache.truncate(length);
      model.truncate(new Int32Array(batch).fill(length));
    }
  } else if (step.kind === "reorder") {
    const indices = Int32Array.from({ length: batch }, () => integer(0, batch - 1, next));
    cache.reorder(indices);
    model.reorder(indices);
  } else if (step.kind === "keep") {
    const lists = Array.from(model.lengths, (length, b) =>
      next() < 0.2 ? undefined : someTokens(model.oldest(b), length, next),
    );
    cache.keep(lists);
    model.keep(lists);
  } else if (step.kind === "add") {
    const count = integer(0, 2, next);
    expect(cache.add(count)).toBe(batch);
    model.add(count);
  } else if (step.kind === "remove") {
    const b = integer(0, batch - 1, next);
    if (batch === 1) return;
    cache.remove(b);
    model.remove(b);
  } else if (step.kind === "reset") {
    cache.reset();
    model.reset();
  }
}

forEachBuild((name, open) => {
  const heed = open();

  /** Attention over the cache and over the model, with a few queries and options at random. */
  function expectSame(cache: Cache, model: Model, group: number, next: () => number): void {
    expect(cache.lengths).toEqual(model.lengths);
    expect(cache.length).toBe(model.length);
    const seqLenQ = Math.min([1, 2, 3, 17][integer(0, 3, next)]!, model.mostQueries);
    const { batch, numKvHeads, headDim } = model.dims;
    const q = floats(batch * seqLenQ * numKvHeads * group * headDim, next);
    expectRight(cache, model, q, optionsOf(model, group, seqLenQ, next));
  }

  it("is attention over the concatenated keys, after any sequence of steps, for any options", () => {
    const property = fc.property(scripts, ({ seed, group, k, v, steps, ...dims }) => {
      const next = uniform(seed);
      const { used } = heed.memory;
      const options = { ...dims, dtype: k === v ? k : { k, v }, capacity: 2000 };
      let cache = heed.createKvCache(options);
      let model = new Model(options);
      const others: [Cache, Model][] = [];
      for (const step of steps) {
        if (step.kind === "fork") {
          others.push([cache, model]);
          [cache, model] = [cache.fork(), model.fork()];
        } else if (step.kind === "prefix") {
          others.push([cache, model]);
          const lengths = model.lengths.map((length, b) =>
            next() < 0.2 ? 0 : integer(model.window === undefined ? 0 : model.horizon[b]!, length, next),
          );
          [cache, model] = [KvCache.prefix(cache, lengths), model.fork()];
          model.truncate(lengths);
        } else if (step.kind === "restore") {
          const restored = heed.restoreKvCache(cache.save());
          expect(restored.save()).toEqual(cache.save());
          cache.dispose();
          cache = restored;
        } else take(step, cache, model, next);
        expectSame(cache, model, group, next);
      }
      // What became of a fork has not touched what it was forked from.
      for (const [other, itsModel] of others) {
        expectSame(other, itsModel, group, next);
        other.dispose();
      }
      cache.dispose();
      expect(heed.memory.used).toBe(used);
    });
    fc.assert(property, { seed: 20261124, numRuns: runs(name === "debug" ? 30 : 120) });
  });

  describe("prefill, then token by token, as a decoder does", () => {
    it.each([
      ["f32", undefined],
      ["f16", undefined],
      ["int8", undefined],
      ["f32", 50],
      ["int8", 128],
    ] as const)("%s, window %s", (dtype, window) => {
      const options = { numKvHeads: 2, headDim: 16, capacity: 600, batch: 2, dtype, window };
      using cache = heed.createKvCache(options);
      const model = new Model(options);
      const next = uniform(9);
      const step = (newTokens: number, lengths?: Int32Array) => {
        const { k, v } = tokens(model, newTokens, next);
        cache.append(k, v, { lengths });
        model.append(k, v, lengths);
        expectRight(cache, model, floats(2 * newTokens * 4 * 16, next), { numHeads: 4, causal: true });
      };
      step(120);
      for (let n = 0; n < 20; n++) step(1);
      step(117, Int32Array.of(117, 60));
      // The second sequence has ended: it takes no more tokens.
      for (let n = 0; n < 60; n++) step(1, Int32Array.of(1, n < 20 ? 1 : 0));
      step(17);
    });
  });
});
