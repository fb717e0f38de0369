// A cache that is cut over places against f64 over the rows as they are stored, whatever happens to its places on the way.
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { ShardedCache } from "../../bindings/shard/index.ts";
import { forEachBuild, openSimd } from "../support/builds.ts";
import { Model, expectRightAnswer } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { TestPlace, unreliable } from "../support/shards.ts";
import { runs } from "../support/sweep.ts";

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const dtype = fc.constantFrom("f32" as const, "f16" as const, "int8" as const);

const sizes = fc.record({
  places: fc.constantFrom(1, 2, 5, 8),
  pageTokens: fc.constantFrom(1, 3, 8, 128),
  batch: fc.integer({ min: 1, max: 2 }),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  headDim: fc.constantFrom(2, 6, 8, 16),
  valueDim: fc.constantFrom(3, 8, 16),
  dtype: fc.record({ k: dtype, v: dtype }),
  rotary: maybe(fc.constantFrom({}, { base: 500, rotaryDim: 2, interleaved: true })),
  requestBytes: fc.constantFrom(1, 500, 2 ** 23),
});

const options = fc.record({
  rows: fc.constantFrom(0, 1, 2, 5, 20),
  causal: fc.boolean(),
  queryOffset: maybe(fc.integer({ min: -9, max: 60 })),
  scale: maybe(fc.constantFrom(-0.3, 0.1, 1)),
  softcap: maybe(fc.constantFrom(1, 7)),
  window: maybe(fc.record({ left: maybe(fc.nat(30)), right: maybe(fc.nat(30)) })),
  alibi: fc.boolean(),
  sinks: fc.boolean(),
});

const step = fc.oneof(
  fc.record({ op: fc.constant("append" as const), tokens: fc.constantFrom(0, 1, 1, 2, 7, 30) }),
  fc.record({ op: fc.constant("truncate" as const), keep: fc.double({ min: 0, max: 1, noNaN: true }) }),
  fc.record({ op: fc.constant("attend" as const), options }),
  fc.record({ op: fc.constant("reopen" as const) }),
);

const story = fc.record({
  seed: fc.integer(),
  sizes,
  prompt: fc.constantFrom(0, 1, 40, 300),
  steps: fc.array(step, { maxLength: 8 }),
  last: options,
  trouble: fc.constantFrom(0, 0.1, 0.4),
});
type Story = typeof story extends fc.Arbitrary<infer T> ? T : never;

/** Plays a story with some calls, and checks every answer. */
async function play(heed: Heed, places: TestPlace[], made: Story): Promise<void> {
  const { seed, sizes: given, prompt, steps, last, trouble } = made;
  const next = uniform(seed);
  const { group, rotary, batch, numKvHeads, headDim, valueDim, dtype: types, pageTokens, requestBytes } = given;
  const layout = { batch, numKvHeads, headDim, valueDim, dtype: types, pageTokens, requestBytes };
  // Pages in any order.
  places.sort(() => next() - 0.5);
  const calls = unreliable(places, uniform(seed + 1), trouble, 3);
  const open = () => ShardedCache.open(heed, calls, { ...layout, rotary, capacity: 2000, retries: 3, retryMs: 0 });
  let cache = await open();
  const model = new Model({ numKvHeads, headDim, valueDim, batch, dtype: types, capacity: 0 });
  const numHeads = numKvHeads * group;
  const turned = (x: Float32Array<ArrayBuffer>, heads: number, positions: number) =>
    rotary ? heed.rotary(x, { ...rotary, batch, numHeads: heads, headDim, positions }).out : x;

  const append = async (tokens: number) => {
    const k = floats(batch * tokens * numKvHeads * headDim, next);
    const v = floats(batch * tokens * numKvHeads * valueDim, next);
    const done = cache.append(k, v);
    model.append(turned(k, numKvHeads, model.length), v);
    // They have been copied.
    k.fill(NaN);
    v.fill(NaN);
    await done;
  };
  const attend = async (asking: typeof options extends fc.Arbitrary<infer T> ? T : never) => {
    const { rows, alibi, sinks, ...chosen } = asking;
    const q = floats(batch * rows * numHeads * headDim, next);
    const asked = {
      ...{ ...chosen, numHeads },
      ...(alibi && { alibiSlopes: Float32Array.from({ length: numHeads }, (_, h) => 2 ** -(h + 1)) }),
      ...(sinks && { sinks: floats(numHeads, next) }),
    } satisfies Omit<PlainOptions, "headDim">;
    const offset = chosen.queryOffset ?? model.length - rows;
    const got = await cache.attention(q, asked);
    expectRightAnswer(got, model, turned(q, numHeads, offset), asked);
  };

  await append(prompt);
  for (const one of steps) {
    if (one.op === "append") await append(one.tokens);
    else if (one.op === "attend") await attend(one.options);
    else if (one.op === "reopen") cache = await open();
    else {
      const length = Math.floor(one.keep * cache.length);
      await cache.truncate(length);
      model.truncate(new Int32Array(batch).fill(length));
    }
    expect(cache.length).toBe(model.length);
  }
  await attend(last);
}

forEachBuild((_, open) => {
  const heed = open();

  it("is attention over all tokens, whatever happens to the places", async () => {
    const { used } = heed.memory;
    const property = fc.asyncProperty(story, async (made) => {
      const places = Array.from({ length: made.sizes.places }, () => new TestPlace(heed));
      try {
        await play(heed, places, made);
      } finally {
        for (const place of places) place.shard.dispose();
      }
      expect(heed.memory.used).toBe(used);
    });
    await fc.assert(property, { numRuns: runs(150), seed: 20261128 });
  });
});

it("gives the same bits whatever the transport does", async () => {
  const heed = openSimd()();
  const [numKvHeads, headDim, tokens] = [2, 16, 700];
  const answers = [];
  for (const trouble of [0, 0.3, 0.5]) {
    const next = uniform(5);
    const places = Array.from({ length: 5 }, () => new TestPlace(heed));
    const calls = unreliable(places, uniform(trouble * 100), trouble, 3);
    const cache = await ShardedCache.open(heed, calls, { numKvHeads, headDim, capacity: 1000, retryMs: 0 });
    await cache.append(floats(tokens * numKvHeads * headDim, next), floats(tokens * numKvHeads * headDim, next));
    const q = floats(150 * 4 * headDim, next);
    answers.push(await cache.attention(q, { numHeads: 4, causal: true }));
    for (const place of places) place.shard.dispose();
  }
  expect(answers[1]).toEqual(answers[0]);
  expect(answers[2]).toEqual(answers[0]);
  heed.dispose();
});
