// One place: changes are made once, whatever comes twice, late or from others; its store is what counts.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Shard, type ShardAnswer, type ShardShape } from "../../bindings/shard/index.ts";
import { planChunks } from "../../bindings/shard/chunks.ts";
import { openSimd } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { MemoryStore, rejection } from "../support/shards.ts";

const heed = openSimd()();
const shape: ShardShape = {
  ...{ numKvHeads: 1, headDim: 4, valueDim: 4, batch: 1, capacity: 500 },
  ...{ place: 1, places: 3, pageTokens: 2, dtype: { k: "f32", v: "f32" } },
};
const rows = (tokens: number, seed = 1) => floats(tokens * 4, uniform(seed));
const open = { op: "open", writer: 7, shape };
const append = (from: number, version: number, tokens = 1) => ({
  ...{ op: "append", writer: 7, from, version, before: 0, after: 9 },
  ...{ k: rows(tokens, version), v: rows(tokens, version + 100) },
});
const truncate = (from: number, version: number, length: number) => ({
  ...{ op: "truncate", writer: 7, from, version, before: 0, after: 0, length },
});
const attend = (version: number, more = {}) => ({
  ...{ op: "attend", version, q: rows(1, 50), numHeads: 1, queryOffset: 100, ...more },
});

/** The answer, which must be yes. */
async function yes(answer: Promise<ShardAnswer>): Promise<Extract<ShardAnswer, { ok: true }>> {
  const given = await answer;
  if (!given.ok) throw new Error(given.error.message);
  return given;
}

describe("a change", () => {
  it("is made once, however often it comes", async () => {
    using shard = new Shard(heed);
    await yes(shard.handle(open));
    for (let times = 0; times < 3; times++) {
      const { state } = await yes(shard.handle(append(0, 5, 2)));
      expect(state).toMatchObject({ length: 2, version: 5, before: 0, after: 9 });
    }
    const { length } = (await yes(shard.handle(append(5, 6)))).state;
    expect(length).toBe(3);
  });

  it("that comes late, or of another writer, is not made; the answer has the state", async () => {
    using shard = new Shard(heed);
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1, 3)));
    await yes(shard.handle(truncate(1, 2, 1)));
    for (const late of [append(0, 1), append(1, 3), truncate(1, 3, 0), { ...append(2, 3), writer: 6 }]) {
      const answer = await shard.handle(late);
      expect(answer).toMatchObject({ ok: false, reason: "state", state: { length: 1, version: 2, writer: 7 } });
    }
    expect((await shard.state()).length).toBe(1);
  });

  it("goes to the later of two coordinators", async () => {
    using shard = new Shard(heed);
    expect(await yes(shard.handle(open))).toMatchObject({ isNew: true });
    expect(await yes(shard.handle({ ...open, writer: 8 }))).toMatchObject({ isNew: false });
    expect(await shard.handle(open)).toMatchObject({ ok: false, reason: "state", state: { writer: 8 } });
    expect(await shard.handle(append(0, 1))).toMatchObject({ ok: false, reason: "state" });
    await yes(shard.handle({ ...append(0, 1), writer: 8 }));
  });

  it("of which the store keeps nothing is not made", async () => {
    const store = new MemoryStore();
    using shard = new Shard(heed, { store });
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1, 2)));
    const before = await yes(shard.handle(attend(1)));
    store.fails = "before";
    const answer = await shard.handle(append(1, 2));
    expect(answer).toMatchObject({ ok: false, reason: "error", error: { message: "the disk is full" } });
    expect(await yes(shard.handle(attend(1)))).toEqual(before);
    store.fails = "before";
    expect((await shard.handle(truncate(1, 2, 0))).ok).toBe(false);
    expect(await yes(shard.handle(attend(1)))).toEqual(before);
  });

  it("that the store has kept, and said it had not, is made", async () => {
    const store = new MemoryStore();
    using shard = new Shard(heed, { store });
    await yes(shard.handle(open));
    store.fails = "after";
    expect((await shard.handle(append(0, 1, 2))).ok).toBe(false);
    // The coordinator asks again.
    expect((await yes(shard.handle(append(0, 1, 2)))).state.length).toBe(2);
  });
});

describe("a request", () => {
  it("over another version is answered with the state", async () => {
    using shard = new Shard(heed);
    expect(await shard.handle(attend(0))).toMatchObject({ ok: false, reason: "state", state: { shape: null } });
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 4)));
    expect(await shard.handle(attend(3))).toMatchObject({ ok: false, reason: "state", state: { version: 4 } });
    const { out, lse } = await yes(shard.handle(attend(4)));
    expect([out!.length, lse!.length]).toEqual([4, 1]);
  });

  it.each([
    [null, '"op" expected'],
    [{ op: "close" }, '"op" expected "open" or "append" or "truncate" or "attend", got "close"'],
    [{ ...open, writer: -1 }, '"writer" expected'],
    [{ ...open, shape: { ...shape, headDim: 0 } }, '"headDim" expected'],
    [{ ...open, shape: { ...shape, place: 3 } }, '"place" expected'],
    [{ ...open, shape: { ...shape, dtype: "f32" } }, '"dtype" expected'],
    [{ ...open, shape: { ...shape, window: 3 } }, '"window" is no option'],
    [{ ...append(1, 2), k: [1] }, '"k" expected a Float32Array'],
    [{ ...append(1, 2), k: rows(2) }, '"v" expected a length of 8'],
    [{ ...append(1, 2), k: new Float32Array(3) }, '"k" expected a length divisible by 4'],
    [append(1, 2, 600), '"k" expected at most 498 more tokens'],
    [truncate(1, 2, 3), '"length" expected an integer from 0 to 2, got 3'],
    [{ ...truncate(1, 2, 0), extra: 1 }, '"extra" is no option of the request "truncate"'],
    [attend(1, { q: new Float32Array(5) }), '"q" expected a length divisible by 4'],
    [attend(1, { numHeads: 0 }), '"numHeads" expected'],
    [attend(1, { softcap: 0 }), '"softcap" expected'],
    [attend(1, { causal: 1 }), '"causal" expected'],
    [attend(1, { window: { left: -1 } }), '"window.left" expected'],
    [attend(1, { window: { before: 1 } }), '"before" is no option of window'],
    [attend(1, { alibiSlopes: rows(1) }), '"alibiSlopes" expected a length of 1'],
    [attend(1, { queryOffset: 0.5 }), '"queryOffset" expected'],
  ])("%# that is wrong is refused by name, and changes nothing", async (request, message) => {
    using shard = new Shard(heed);
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1, 2)));
    const before = await yes(shard.handle(attend(1)));
    const { used } = heed.memory;
    const answer = await shard.handle(request);
    expect(answer).toMatchObject({ ok: false, reason: "error" });
    expect(!answer.ok && answer.error.message).toContain(message);
    expect(heed.memory.used).toBe(used);
    expect(await yes(shard.handle(attend(1)))).toEqual(before);
  });

  it("of any kind is answered, and leaves the place as it is or as it asks", async () => {
    using shard = new Shard(heed);
    await yes(shard.handle(open));
    const hostile = fc.oneof(
      fc.anything({ withTypedArray: true, withNullPrototype: true }),
      fc
        .tuple(fc.constantFrom<object>(open, append(0, 1), truncate(0, 1, 0), attend(0)), fc.string(), fc.anything())
        .map(([request, name, value]) => {
          const names = Object.keys(request);
          return { ...request, [names[name.length % names.length]!]: value };
        }),
    );
    const property = fc.asyncProperty(hostile, async (request) => {
      const before = await shard.state();
      const answer = await shard.handle(request);
      const after = await shard.state();
      if (!answer.ok) expect(after).toEqual(before);
      expect(structuredClone(answer)).toEqual(answer);
    });
    await fc.assert(property, { seed: 6, numRuns: 500 });
  });

  it("for a cache of other sizes is refused while there are tokens, and taken then", async () => {
    using shard = new Shard(heed);
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1)));
    const other = { ...open, writer: 9, shape: { ...shape, headDim: 8 } };
    const answer = await shard.handle(other);
    expect(!answer.ok && answer.error.message).toContain('"headDim" expected 4 (that of the tokens at this place)');
    await yes(shard.handle(truncate(1, 2, 0)));
    await yes(shard.handle(other));
  });

  it("is refused once the shard is disposed of, and the memory is given back", async () => {
    const { used } = heed.memory;
    const shard = new Shard(heed);
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1)));
    expect(shard.bytes).toBeGreaterThan(0);
    shard.dispose();
    shard.dispose();
    expect([shard.bytes, heed.memory.used]).toEqual([0, used]);
    expect(await shard.handle(attend(1))).toMatchObject({ error: { name: "ReferenceError" } });
    await expect(shard.state()).rejects.toThrow('"shard" expected a live Shard');
  });
});

it("refuses what is no store", () => {
  expect(() => new Shard(heed, { store: {} as never })).toThrow('"store.load" expected a function');
  expect(() => new Shard(heed, { stores: 1 } as never)).toThrow('"stores" is no option of Shard');
  expect(() => new Shard(null as never)).toThrow('"heed" expected an object');
});

describe("the store", () => {
  it("has what the place has, after every change, in few chunks", async () => {
    const store = new MemoryStore();
    const next = uniform(9);
    let version = 0;
    let length = 0;
    const shard = new Shard(heed, { store });
    await yes(shard.handle(open));
    for (let n = 0; n < 400; n++) {
      const cut = next() < 0.05;
      const to = cut ? Math.max(0, length - Math.floor(next() * 40)) : length + 1;
      const change = cut ? truncate(version, version + 1, to) : append(version, version + 1);
      await yes(shard.handle(change));
      version++;
      length = to;
      if (n % 40 !== 0) continue;
      using again = new Shard(heed, { store });
      expect(await again.state()).toEqual(await shard.state());
      expect(await yes(again.handle(attend(version)))).toEqual(await yes(shard.handle(attend(version))));
    }
    expect(store.kept!.chunks.length).toBeLessThan(128 + length / 128 + 1);
    shard.dispose();
  });

  it("is written about twice what is kept, token by token", async () => {
    const store = new MemoryStore();
    using shard = new Shard(heed, { store });
    await yes(shard.handle(open));
    for (let version = 1; version <= 384; version++) await yes(shard.handle(append(version - 1, version)));
    expect(store.kept!.chunks).toHaveLength(3);
    expect(store.written.chunks).toBe(384);
  });

  it("that cannot be read answers with its error until it can", async () => {
    const store = new MemoryStore();
    const shard = new Shard(heed, { store });
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1)));
    shard.dispose();
    const { kept } = store;
    for (const broken of [
      { ...kept!, chunks: [] },
      { ...kept!, record: "{" },
    ]) {
      store.kept = broken;
      using again = new Shard(heed, { store });
      expect(await again.handle(attend(1))).toMatchObject({ ok: false, reason: "error", state: null });
      store.kept = kept;
      await yes(again.handle(attend(1)));
    }
  });

  it("keeps chunks that follow each other, under any changes", () => {
    const change = fc.record({ cut: fc.boolean(), tokens: fc.integer({ min: 0, max: 300 }) });
    const property = fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      // What each chunk has, as tokens with the number of the change that made them.
      let chunks: number[][] = [];
      let tokens: number[] = [];
      let starts: number[] = [];
      changes.forEach(({ cut, tokens: count }, n) => {
        const before = tokens.length;
        const kept = cut ? Math.max(0, before - count) : before;
        tokens = [...tokens.slice(0, kept), ...Array<number>(cut ? 0 : count).fill(n)];
        const plan = planChunks(starts, before, kept, tokens.length);
        const chunk = plan.start === undefined ? [] : [tokens.slice(plan.start)];
        chunks = [...chunks.slice(0, plan.from), ...chunk];
        ({ starts } = plan);
        expect(chunks.flat()).toEqual(tokens);
        let at = 0;
        expect(starts).toEqual(chunks.map(({ length }) => (at += length) - length));
      });
    });
    fc.assert(property, { seed: 8, numRuns: 300 });
  });
});

describe("save and restore", () => {
  it("move a place", async () => {
    for (const tokens of [0, 3]) {
      using shard = new Shard(heed);
      await yes(shard.handle(open));
      if (tokens > 0) await yes(shard.handle(append(0, 1, tokens)));
      const store = new MemoryStore();
      using other = new Shard(heed, { store });
      await other.restore(await shard.save());
      using again = new Shard(heed, { store });
      for (const moved of [other, again]) {
        expect(await moved.state()).toEqual(await shard.state());
        expect(await moved.handle(attend(1))).toEqual(await shard.handle(attend(1)));
      }
    }
  });

  it("refuse other bytes, and leave the place as it was", async () => {
    using shard = new Shard(heed);
    await yes(shard.handle(open));
    await yes(shard.handle(append(0, 1, 3)));
    const bytes = await shard.save();
    const { used } = heed.memory;
    for (const length of [0, 11, 100, bytes.length - 4]) {
      const error = await rejection(shard.restore(bytes.slice(0, length)));
      expect(error.message).toMatch(/^"bytes" expected/);
    }
    expect(heed.memory.used).toBe(used);
    expect((await shard.state()).length).toBe(3);
  });
});
