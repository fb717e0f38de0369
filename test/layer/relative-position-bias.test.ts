// relativePositionBias: T5's buckets of distances, as a bias of attention.
import { MultiHeadAttention, load, relativePositionBias } from "heed";
import { describe, expect, it } from "vitest";
import type { RelativePositionOptions } from "../../bindings/importers/index.ts";
import { expectClose } from "../support/budget.ts";
import { bare, named, square, weights } from "../support/importers.ts";
import { layerFloor, layerReference } from "../support/layer.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

const tableOf = (numBuckets: number, numHeads: number) => ({
  data: floats(numBuckets * numHeads, uniform(numBuckets)),
  shape: [numBuckets, numHeads],
});
/** [numBuckets, 1], where the value of a bucket is its number. */
const numbers = (numBuckets: number) => ({
  data: Float32Array.from({ length: numBuckets }, (_, n) => n),
  shape: [numBuckets, 1],
});

/**
 * `_relative_position_bucket` of modeling_t5.py in integers: of the distances beyond the exact ones, `far` buckets in
 * all, distance d is in the last bucket j for which (d / exact)^far ≥ (maxDistance / exact)^j.
 */
function bucketOf(behind: number, causal: boolean, numBuckets: number, maxDistance: number): number {
  const sided = causal ? numBuckets : numBuckets >> 1;
  const first = !causal && behind > 0 ? sided : 0;
  const distance = causal ? Math.max(0, -behind) : Math.abs(behind);
  const exact = sided >> 1;
  if (distance < exact) return first + distance;
  const far = BigInt(sided - exact);
  const [d, e, most] = [BigInt(distance), BigInt(exact), BigInt(maxDistance)];
  let j = 0n;
  while (j + 1n < far && d ** far * e ** (j + 1n) >= most ** (j + 1n) * e ** far) j++;
  return first + exact + Number(j);
}

describe("values", () => {
  it.each<[model: string, numBuckets: number, options: RelativePositionOptions]>([
    ["T5's encoder", 32, { seqLenQ: 140 }],
    ["T5's decoder", 32, { seqLenQ: 140, causal: true }],
    ["a token of it", 32, { seqLenQ: 1, seqLenKv: 300, causal: true }],
    ["queries before the keys", 32, { seqLenQ: 3, seqLenKv: 9, queryOffset: -200 }],
    ["queries far behind the keys", 32, { seqLenQ: 3, seqLenKv: 9, queryOffset: 2 ** 30 }],
    ["more queries than keys", 32, { seqLenQ: 9, seqLenKv: 4 }],
    ["WavLM", 320, { seqLenQ: 900, seqLenKv: 1, queryOffset: 0, maxDistance: 800 }],
    ["other distances", 64, { seqLenQ: 1, seqLenKv: 600, queryOffset: 0, maxDistance: 500 }],
    ["an odd number of buckets", 7, { seqLenQ: 20, maxDistance: 9 }],
    ["the fewest", 4, { seqLenQ: 9, maxDistance: 2 }],
    ["the fewest of a decoder", 2, { seqLenQ: 9, maxDistance: 2, causal: true }],
  ])("%s", (_, numBuckets, options) => {
    const { seqLenQ, seqLenKv = seqLenQ, causal = false, maxDistance = 128 } = options;
    const { queryOffset = seqLenKv - seqLenQ } = options;
    const table = tableOf(numBuckets, 3);
    const buckets = Array.from({ length: seqLenQ * seqLenKv }, (_, n) =>
      bucketOf((n % seqLenKv) - Math.floor(n / seqLenKv) - queryOffset, causal, numBuckets, maxDistance),
    );
    const expected = [0, 1, 2].flatMap((h) => buckets.map((bucket) => table.data[bucket * 3 + h]!));
    const got = relativePositionBias(table, options);
    expect(got.shape).toEqual([3, seqLenQ, seqLenKv]);
    expect(got.data).toEqual(Float32Array.from(expected));
  });

  it("has the buckets that T5 has at its bounds", () => {
    const buckets = (options: RelativePositionOptions) => relativePositionBias(numbers(32), options).data;
    const before = buckets({ seqLenQ: 1, seqLenKv: 201 });
    expect(
      [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 200].map((d) => before[200 - d]),
    ).toEqual([0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15]);
    const behind = buckets({ seqLenQ: 1, seqLenKv: 201, queryOffset: 0 });
    expect([0, 1, 7, 8, 64, 91, 200].map((d) => behind[d])).toEqual([0, 17, 23, 24, 30, 31, 31]);
    const causal = buckets({ seqLenQ: 1, seqLenKv: 201, causal: true });
    expect([0, 15, 16, 18, 19, 112, 113, 200].map((d) => causal[200 - d])).toEqual([0, 15, 16, 16, 17, 30, 31, 31]);
  });

  it("takes nothing of no rows, whatever lengths are named", () => {
    expect(relativePositionBias(numbers(32), { seqLenQ: 2 ** 20, seqLenKv: 0 }).data).toHaveLength(0);
    expect(relativePositionBias(numbers(32), { seqLenQ: 0, seqLenKv: 2 ** 20 }).data).toHaveLength(0);
  });
});

it("makes a layer of T5 of what fromHuggingFace and relativePositionBias read", async () => {
  using heed = await load();
  const table = tableOf(32, 4);
  const dict = {
    ...named(weights, { q: "q", k: "k", v: "v", out: "o" }, false),
    "relative_attention_bias.weight": table,
  };
  const ignore = ["relative_attention_bias.weight"];
  const layer = heed.createMultiHeadAttention({ ...MultiHeadAttention.fromHuggingFace(dict, { numHeads: 4, ignore }) });
  const x = floats(11 * square.embedDim, uniform(9));
  const bias = relativePositionBias(table, { seqLenQ: 11 });
  const plain = { batch: 1, attention: { scale: 1, bias } };
  const exact = layerReference(x, bare(weights), square, plain);
  const naive = layerReference(x, bare(weights), square, plain, Math.fround);
  const got = layer.forward(x, { bias, lse: true });
  expectClose(got, exact, naive, layerFloor(x, bare(weights), square, plain, exact));
});

describe("refusals", () => {
  const options = { seqLenQ: 3 };
  it.each<[title: string, named: string, kind: Refusal, weight: unknown, options: object]>([
    ["no weight", "weight", TypeError, undefined, options],
    ["floats without a shape", "weight.shape", TypeError, { data: new Float32Array(64) }, options],
    ["integers", "weight.data", TypeError, { data: new Int32Array(64), shape: [32, 2] }, options],
    ["another shape", "weight.data", RangeError, { data: new Float32Array(63), shape: [32, 2] }, options],
    ["one dimension", "weight.shape", RangeError, { data: new Float32Array(64), shape: [64] }, options],
    ["no heads", "weight.shape[1]", RangeError, { data: new Float32Array(0), shape: [32, 0] }, options],
    ["three buckets", "weight.shape[0]", RangeError, numbers(3), options],
    ["one bucket of a decoder", "weight.shape[0]", RangeError, numbers(1), { ...options, causal: true }],
    ["no seqLenQ", "seqLenQ", TypeError, numbers(32), {}],
    ["seqLenQ below 0", "seqLenQ", RangeError, numbers(32), { seqLenQ: -1 }],
    ["half a key", "seqLenKv", RangeError, numbers(32), { ...options, seqLenKv: 0.5 }],
    ["an offset beyond all keys", "queryOffset", RangeError, numbers(32), { ...options, queryOffset: 2 ** 31 }],
    ["causal of 1", "causal", TypeError, numbers(32), { ...options, causal: 1 }],
    ["a distance within the exact ones", "maxDistance", RangeError, numbers(32), { ...options, maxDistance: 8 }],
    ["an infinite distance", "maxDistance", RangeError, numbers(32), { ...options, maxDistance: Infinity }],
    ["too many queries", "seqLenQ", RangeError, numbers(32), { seqLenQ: 2 ** 20 + 1 }],
    ["more than an engine has", "bias", RangeError, numbers(32), { seqLenQ: 2 ** 20 }],
  ])("%s", (_, named, kind, weight, given) => {
    expectRefusal(kind, named, () => relativePositionBias(weight as never, given as never));
  });
});
