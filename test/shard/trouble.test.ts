// What the coordinator says and does where places fail for good, lose what they had, or were opened by another.
import { describe, expect, it } from "vitest";
import { type Call, Shard, ShardError, ShardedCache, decode, encode } from "../../bindings/shard/index.ts";
import { openSimd } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { TestPlace, rejection } from "../support/shards.ts";

const heed = openSimd()();
const sizes = { numKvHeads: 1, headDim: 4, capacity: 64, pageTokens: 2, retries: 2, retryMs: 0 } as const;
const rows = (tokens: number, seed = 1) => floats(tokens * 4, uniform(seed));
const q = rows(3, 50);

/** Places whose calls can be made to fail: `down` fails all, `drop` the answers. */
function makePlaces(count: number) {
  const places = Array.from({ length: count }, () => Object.assign(new TestPlace(heed), { down: false, drop: false }));
  const tries = places.map(() => 0);
  const calls = places.map((place, n): Call => async (request) => {
    tries[n]!++;
    if (place.down) throw new Error("connection refused");
    const answer = await place.call(request);
    if (place.drop) throw new Error("connection reset");
    return answer;
  });
  return { places, calls, tries };
}

/** What one cache gives for the tokens appended in these counts. */
function whole(counts: readonly number[]) {
  using cache = heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 64 });
  counts.forEach((count, n) => cache.append(rows(count, n), rows(count, n + 100)));
  return cache.attention(q, { numHeads: 1, causal: true, lse: true });
}
function expectNear(got: { out: Float32Array; lse: Float32Array }, counts: readonly number[]) {
  const expected = whole(counts);
  for (const name of ["out", "lse"] as const) {
    got[name].forEach((x, n) => expect(Math.abs(x - expected[name][n]!)).toBeLessThan(1e-5));
  }
}
const add = (cache: ShardedCache, count: number, n: number) => cache.append(rows(count, n), rows(count, n + 100));
const ask = (cache: ShardedCache) => cache.attention(q, { numHeads: 1, causal: true });

describe("a place that gives no answer", () => {
  it("is named, once calls were made again; nothing has changed, and later calls go on", async () => {
    const { places, calls, tries } = makePlaces(3);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 9, 0);
    places[1]!.down = true;
    const before = tries[1]!;
    const error = await rejection(add(cache, 7, 1));
    expect(error).toBeInstanceOf(ShardError);
    expect(error).toMatchObject({ place: 1, fault: "unreachable", name: "ShardError" });
    expect(error.message).toBe("place 1 gave no answer, 3 times: connection refused");
    expect((error.cause as Error).message).toBe("connection refused");
    expect(tries[1]! - before).toBe(3);
    expect(cache.length).toBe(9);
    await expect(ask(cache)).rejects.toThrow("place 1 gave no answer");
    places[1]!.down = false;
    // What had arrived at the other places is gone.
    expectNear(await ask(cache), [9]);
    await add(cache, 8, 1);
    expectNear(await ask(cache), [9, 8]);
  });

  it("may have made the change: it is undone, or made once", async () => {
    const { places, calls } = makePlaces(3);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 9, 0);
    for (const place of places) place.drop = true;
    await expect(add(cache, 7, 5)).rejects.toThrow("place 0 gave no answer, 3 times: connection reset");
    for (const place of places) place.drop = false;
    expect(cache.length).toBe(9);
    expectNear(await ask(cache), [9]);
    await add(cache, 7, 1);
    expectNear(await ask(cache), [9, 7]);
  });

  it("is cut later, where tokens were truncated", async () => {
    const { places, calls } = makePlaces(3);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 5, 0);
    await add(cache, 7, 1);
    places[2]!.down = true;
    await expect(cache.truncate(5)).rejects.toThrow("place 2 gave no answer");
    expect(cache.length).toBe(5);
    places[2]!.down = false;
    await add(cache, 4, 1);
    expectNear(await ask(cache), [5, 4]);
  });

  it("leaves an append that another coordinator finds undone, or done where it had arrived everywhere", async () => {
    for (const arrives of [false, true]) {
      const { places, calls } = makePlaces(3);
      const cache = await ShardedCache.open(heed, calls, sizes);
      await add(cache, 9, 0);
      if (arrives) for (const place of places) place.drop = true;
      else places[1]!.down = true;
      await rejection(add(cache, 7, 1));
      for (const place of places) Object.assign(place, { down: false, drop: false });
      const next = await ShardedCache.open(heed, calls, sizes);
      expect(next.length).toBe(arrives ? 16 : 9);
      expectNear(await ask(next), arrives ? [9, 7] : [9]);
      await add(next, 3, arrives ? 2 : 1);
      expectNear(await ask(next), arrives ? [9, 7, 3] : [9, 3]);
    }
  });
});

describe("a place that has lost its tokens", () => {
  it("is named", async () => {
    const { places, calls } = makePlaces(3);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 9, 0);
    places[1]!.store.kept = undefined;
    places[1]!.restart();
    for (const call of [() => ask(cache), () => add(cache, 4, 1)]) {
      const error = await rejection(call());
      expect(error).toMatchObject({ place: 1, fault: "lost" });
    }
    const error = await rejection(ShardedCache.open(heed, calls, sizes));
    expect(error).toMatchObject({ place: 1, fault: "lost" });
    expect(error.message).toBe("place 1 has lost tokens: it has 0 of 3");
  });

  it("is named where it is at an earlier state", async () => {
    const { places, calls } = makePlaces(2);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 2, 0);
    const { kept } = places[0]!.store;
    await cache.truncate(0);
    await add(cache, 2, 1);
    places[0]!.store.kept = kept;
    places[0]!.restart();
    // As many tokens, but not these.
    expect(await rejection(ask(cache))).toMatchObject({ place: 0, fault: "lost" });
  });

  it("goes on where it had none", async () => {
    const { places, calls } = makePlaces(3);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 2, 0);
    for (const n of [1, 2]) {
      places[n]!.store.kept = undefined;
      places[n]!.restart();
    }
    await add(cache, 1, 1);
    expectNear(await ask(cache), [2, 1]);
    places[2]!.down = true;
    await rejection(add(cache, 5, 2));
    places[2]!.down = false;
    places[2]!.store.kept = undefined;
    places[2]!.restart();
    await add(cache, 5, 2);
    expectNear(await ask(cache), [2, 1, 5]);
  });
});

describe("another coordinator", () => {
  it("takes over with all tokens, and the one before is refused", async () => {
    const { calls } = makePlaces(3);
    const first = await ShardedCache.open(heed, calls, sizes);
    await add(first, 9, 0);
    const second = await ShardedCache.open(heed, calls, sizes);
    expect(second.length).toBe(9);
    await add(second, 4, 1);
    for (const call of [() => add(first, 4, 1), () => ask(first), () => first.truncate(3)]) {
      expect(await rejection(call())).toMatchObject({ fault: "overtaken" });
    }
    expectNear(await ask(second), [9, 4]);
  });

  it("asks again where one opened the places that has a clock ahead of its own", async () => {
    const { places, calls } = makePlaces(2);
    const shape = await ShardedCache.open(heed, calls, sizes).then(async () => (await places[0]!.shard.state()).shape);
    const writer = 2 ** 52;
    await places[0]!.call({ op: "open", writer, shape: shape! });
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 9, 0);
    expectNear(await ask(cache), [9]);
    expect((await places[1]!.shard.state()).writer).toBeGreaterThan(writer);
  });

  it("of other sizes is refused", async () => {
    const { calls } = makePlaces(2);
    await add(await ShardedCache.open(heed, calls, sizes), 9, 0);
    const error = await rejection(ShardedCache.open(heed, calls, { ...sizes, headDim: 8 }));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe('place 0: "headDim" expected 4 (that of the tokens at this place), got 8');
  });
});

it("a place without memory for more refuses by its own error, and nothing changes", async () => {
  const small = openSimd()(2 ** 17);
  const shards = [new Shard(heed), new Shard(small)];
  const calls = shards.map(
    (shard): Call =>
      (request) =>
        shard.handle(request),
  );
  const cache = await ShardedCache.open(heed, calls, { ...sizes, capacity: 1e6, pageTokens: 128 });
  await add(cache, 300, 0);
  const error = await rejection(add(cache, 9000, 1));
  expect(error).toBeInstanceOf(RangeError);
  expect(error.message).toMatch(/^place 1: "memory" expected to grow/);
  expect(cache.length).toBe(300);
  expect((await ask(cache)).out).toHaveLength(12);
  for (const shard of shards) shard.dispose();
});

it.each([
  ["nothing", undefined],
  ["a string", "yes"],
  ["no state", { ok: true }],
  ["no reason", { ok: false, error: { name: "Error", message: "" } }],
  ["no error", { ok: false, reason: "error" }],
])("an answer that is %s is refused, and names the place", async (_, answer) => {
  const { calls } = makePlaces(2);
  const wrong: Call = () => Promise.resolve(answer as never);
  const error = await rejection(ShardedCache.open(heed, [calls[0]!, wrong], sizes));
  expect(error).toMatchObject({ place: 1, fault: "answer" });
  expect(error.message).toMatch(/^place 1 gave what is no answer: /);
});

it("rows that are missing in an answer are refused", async () => {
  const { calls } = makePlaces(2);
  const short: Call = async (request) => {
    const answer = await calls[1]!(request);
    return answer.ok && answer.out ? { ...answer, out: answer.out.slice(1) } : answer;
  };
  const cache = await ShardedCache.open(heed, [calls[0]!, short], sizes);
  await add(cache, 5, 0);
  expect((await rejection(ask(cache))).message).toBe("place 1 gave no 12 floats of out");
});

it("calls are carried out in the order in which they are made", async () => {
  const { calls } = makePlaces(3);
  const cache = await ShardedCache.open(heed, calls, sizes);
  const done = [add(cache, 9, 0), ask(cache), add(cache, 4, 1), ask(cache), cache.truncate(9), ask(cache)];
  const [, first, , second, , third] = await Promise.all(done);
  expectNear(first as never, [9]);
  expectNear(second as never, [9, 4]);
  expect(third).toEqual(first);
});

it("gives the same bits by bytes as by objects", async () => {
  const answers = [];
  for (const inBytes of [false, true]) {
    const { calls } = makePlaces(3);
    const byBytes = calls.map((call): Call => async (request) => {
      const answer = await call(decode(encode(request)) as never);
      return decode(encode(answer)) as never;
    });
    const cache = await ShardedCache.open(heed, inBytes ? byBytes : calls, sizes);
    await add(cache, 11, 0);
    await cache.truncate(9);
    const window = { left: Infinity, right: 0 };
    answers.push(await cache.attention(q, { numHeads: 1, window, sinks: Float32Array.of(0.5), softcap: 3 }));
  }
  expect(answers[1]).toEqual(answers[0]);
});

describe("wrong arguments", () => {
  const some = () => makePlaces(2).calls;
  it.each([
    [() => ShardedCache.open(null as never, some(), sizes), '"heed" expected'],
    [() => ShardedCache.open(heed, 5 as never, sizes), '"calls" expected an array of functions, got 5'],
    [() => ShardedCache.open(heed, [], sizes), '"calls.length" expected'],
    [() => ShardedCache.open(heed, [5 as never], sizes), '"calls[0]" expected a function, got 5'],
    [() => ShardedCache.open(heed, some(), { ...sizes, window: 5 } as never), '"window" is no option of ShardedCache'],
    [() => ShardedCache.open(heed, some(), { ...sizes, headDim: 0 }), '"headDim" expected'],
    [() => ShardedCache.open(heed, some(), { ...sizes, pageTokens: 0 }), '"pageTokens" expected'],
    [() => ShardedCache.open(heed, some(), { ...sizes, dtype: "f64" } as never), '"dtype.k" expected'],
    [() => ShardedCache.open(heed, some(), { ...sizes, rotary: { rotaryDim: 3 } }), '"rotaryDim" expected'],
    [() => ShardedCache.open(heed, some(), { ...sizes, retries: -1 }), '"retries" expected'],
  ])("%# of open are refused by name", async (call, message) => {
    expect((await rejection(call())).message).toContain(message);
  });

  it("of calls are refused by name, before any place is asked", async () => {
    const { calls, tries } = makePlaces(2);
    const cache = await ShardedCache.open(heed, calls, sizes);
    await add(cache, 5, 0);
    const before = [...tries];
    const wrong: [() => Promise<unknown>, string][] = [
      [() => cache.append([1] as never, rows(1)), '"k" expected a Float32Array'],
      [() => cache.append(rows(1), rows(2)), '"v" expected a length of 4'],
      [() => cache.append(rows(60), rows(60)), '"k" expected at most 59 more tokens (capacity 64), got 60'],
      [() => cache.truncate(6), '"length" expected an integer from 0 to 5, got 6'],
      [() => cache.truncate(-1), '"length" expected'],
      [() => cache.attention(rows(1), { numHeads: 3 }), '"q" expected a length divisible by 12'],
      [() => cache.attention(rows(1), {} as never), '"numHeads" expected'],
      [() => cache.attention(rows(1), { numHeads: 1, queryOffset: 0.5 }), '"queryOffset" expected'],
      [() => cache.attention(rows(1), { numHeads: 1, sinks: rows(1) }), '"sinks" expected a length of 1 (numHeads)'],
      ...["keepMask", "bias", "kvLengths", "layout", "out", "reproducible", "cuSeqlensQ"].map(
        (name): [() => Promise<unknown>, string] => [
          () => cache.attention(rows(1), { numHeads: 1, [name]: true }),
          `"${name}" is no option of attention over a sharded cache`,
        ],
      ),
    ];
    for (const [call, message] of wrong) expect((await rejection(call())).message).toContain(message);
    expect(tries).toEqual(before);
  });
});
