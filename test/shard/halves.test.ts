// 16 bits at a sharded cache: refused by name in rows, and taken in the tables of rotary.
import { expect, it } from "vitest";
import { Shard, ShardedCache } from "../../bindings/shard/index.ts";
import { forEachBuild } from "../support/builds.ts";
import { bitsOfFloats, floatsOf, halvesOf } from "../support/halves.ts";
import { floats, uniform } from "../support/random.ts";

const sizes = { numKvHeads: 1, headDim: 8, capacity: 20 };
const rows = floats(5 * 8, uniform(1));

forEachBuild((_, open) => {
  const heed = open();

  it("refuses k, v and q, and changes nothing", async () => {
    const shard = new Shard(heed);
    const cache = await ShardedCache.open(heed, [(request) => shard.handle(request)], sizes);
    const half = halvesOf(rows, "bf16") as never;
    await expect(cache.append(half, rows)).rejects.toThrow('"k" expected a Float32Array, got ');
    await expect(cache.append(rows, half)).rejects.toThrow('"v" expected a Float32Array, got ');
    await expect(cache.attention(half, { numHeads: 1 })).rejects.toThrow('"q" expected a Float32Array, got ');
    expect(cache.length).toBe(0);
    shard.dispose();
  });

  it("takes tables, which it copies", async () => {
    const [cos, sin] = [halvesOf(floats(20 * 4, uniform(2)), "f16"), halvesOf(floats(20 * 4, uniform(3)), "bf16")];
    const attend = async (rotary: object, meanwhile: () => void): Promise<Float32Array> => {
      const shard = new Shard(heed);
      const cache = await ShardedCache.open(heed, [(request) => shard.handle(request)], { ...sizes, rotary });
      meanwhile();
      await cache.append(rows, rows);
      const { out } = await cache.attention(rows, { numHeads: 1, causal: true });
      shard.dispose();
      return out;
    };
    const expected = await attend({ cos: floatsOf(cos), sin: floatsOf(sin) }, () => {});
    const got = await attend({ cos, sin }, () => cos.data.fill(0));
    expect(bitsOfFloats(got)).toEqual(bitsOfFloats(expected));
  });
});
