// The angles of caches: computed once, shared where they agree, and given back.

import { expect, it, vi } from "vitest";
import { writeCosinesAndSines } from "../../bindings/rotary/trigonometry.ts";
import { forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { tablesOf } from "../support/rotary.ts";

vi.mock(import("../../bindings/rotary/trigonometry.ts"), async (original) => {
  const actual = await original();
  return { ...actual, writeCosinesAndSines: vi.fn(actual.writeCosinesAndSines) };
});

const rows = (length: number, seed = length) => floats(length, uniform(seed));

forEachBuild((_, open) => {
  it("are computed once for a token, however many layers there are, and shared by them", () => {
    const heed = open();
    const { used } = heed.memory;
    const layers = Array.from({ length: 8 }, () =>
      heed.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 100_000, rotary: { base: 500000 } }),
    );
    const compute = vi.mocked(writeCosinesAndSines).mockClear();
    for (let token = 0; token < 3; token++) {
      for (const layer of layers) {
        layer.append(rows(64), rows(64));
        layer.attention(rows(128), { numHeads: 2 });
      }
      expect(compute).toHaveBeenCalledTimes(token + 1);
    }
    const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
    expect(heed.memory.used - used - bytes).toBeLessThanOrEqual(128 * 64 * 4 + 9 * 128);
    layers.forEach((layer) => layer.dispose());
    layers.forEach((layer) => layer.dispose());
    expect(heed.memory.used).toBe(used);
  });

  it("are not shared by caches that have one table as an array in common, and another as a Tensor each", () => {
    const heed = open();
    const q = rows(4, 3);
    const { cos, sin } = tablesOf(8, 2);
    const otherCos = cos.map((x) => x / 2);
    const outWith = (table: Float32Array) => {
      const tensor = heed.tensor(table.length);
      tensor.data.set(table);
      const cache = heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 8, rotary: { cos: tensor, sin } });
      cache.append(rows(8 * 4), rows(8 * 4, 2));
      return { cache, out: cache.attention(q, { numHeads: 1 }).out };
    };
    const alone = outWith(otherCos);
    alone.cache.dispose();
    const first = outWith(cos);
    expect(outWith(otherCos).out).toEqual(alone.out);
    expect(first.out).not.toEqual(alone.out);
  });

  it("take bounded memory, however far a window moves", () => {
    const heed = open();
    using cache = heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 2 ** 20, window: 100, rotary: {} });
    const chunk = rows(400 * 4);
    let used = 0;
    for (let n = 0; n < 100; n++) {
      cache.append(chunk, chunk);
      if (n === 30) used = heed.memory.used;
    }
    expect(heed.memory.used).toBe(used);
  });

  it("do not grow memory over rounds of create, append, dispose", () => {
    const heed = open();
    const round = () => {
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 100, rotary: {} });
      cache.append(rows(8), rows(8));
      using fork = cache.fork();
      fork.attention(rows(8), { numHeads: 1 });
    };
    for (let n = 0; n < 10; n++) round();
    const before = heed.memory;
    for (let n = 0; n < 1000; n++) round();
    expect(heed.memory).toEqual(before);
  });
});
