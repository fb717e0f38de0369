import { checkBoolean, checkInteger, checkTypedArray } from "../check.ts";
import { MAX_ELEMENTS, MAX_ROWS } from "../limits.ts";
import { freshArray } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import { logarithmOf } from "../rotary/trigonometry.ts";
import { checkTensor, sized } from "./state-dict.ts";

/** What `relativePositionBias` takes besides the weight. @category Importers */
export interface RelativePositionOptions {
  /** Queries, at most 2²⁰. */
  seqLenQ: number;
  /** Keys, at most 2²⁰. Default seqLenQ. */
  seqLenKv?: number | undefined;
  /** Where query 0 stands among the keys. Default seqLenKv − seqLenQ, as for attention. */
  queryOffset?: number | undefined;
  /** True for a decoder, which has no buckets for keys behind the query; it masks them. Default false. */
  causal?: boolean | undefined;
  /** From this distance on, all keys have the last bucket: `relative_attention_max_distance`. Default 128. */
  maxDistance?: number | undefined;
}

const OPTIONS: Names<RelativePositionOptions> = {
  seqLenQ: 0,
  seqLenKv: 0,
  queryOffset: 0,
  causal: 0,
  maxDistance: 0,
};

/** What a logarithm may be off by, so that distances between two buckets get the farther one. */
const SLACK = 1e-9;

/**
 * The bias of T5 and its relatives (mT5, UMT5, LongT5, Switch, MPNet), as `attention` and `forward` take it: for each
 * head a value of the weight, chosen by the bucket of how far the key is from the query. Half of the buckets are for
 * keys behind the query, unless `causal`. Of the others the first half are for one distance each, and the rest for
 * distances that grow by equal factors up to `maxDistance`: `_relative_position_bucket` in modeling_t5.py
 * (https://github.com/huggingface/transformers), after Exploring the Limits of Transfer Learning (Raffel et al.,
 * https://arxiv.org/abs/1910.10683). The result has the same bits on every machine.
 *
 * @param weight `relative_attention_bias.weight`, [numBuckets, numHeads], which stands in the first layer and is meant
 * for all of them
 * @returns [numHeads, seqLenQ, seqLenKv]
 * @throws TypeError for the wrong kind, RangeError for a wrong size or value, or where the engine makes no such array
 * @example
 * import { load, relativePositionBias } from "heed";
 *
 * const heed = await load();
 * const [numBuckets, numHeads, headDim, seqLen] = [32, 2, 4, 5];
 * const weight = { data: new Float32Array(numBuckets * numHeads).fill(0.5), shape: [numBuckets, numHeads] };
 * const bias = relativePositionBias(weight, { seqLenQ: seqLen });
 * console.log(bias.shape); // → [ 2, 5, 5 ]
 *
 * const x = new Float32Array(seqLen * numHeads * headDim);
 * heed.attention(x, x, x, { numHeads, headDim, scale: 1, bias });
 * @category Importers
 */
export function relativePositionBias(
  weight: { data: Float32Array; shape: readonly number[] },
  options: RelativePositionOptions,
): { data: Float32Array<ArrayBuffer>; shape: [numHeads: number, seqLenQ: number, seqLenKv: number] } {
  const read = readOptions<RelativePositionOptions>("relativePositionBias", options, OPTIONS);
  const seqLenQ = checkInteger("seqLenQ", read.seqLenQ, 0, MAX_ELEMENTS);
  const { seqLenKv = seqLenQ, causal = false, maxDistance = 128 } = read;
  checkInteger("seqLenKv", seqLenKv, 0, MAX_ELEMENTS);
  const { queryOffset = seqLenKv - seqLenQ } = read;
  checkInteger("queryOffset", queryOffset, -MAX_ROWS, MAX_ROWS);
  checkBoolean("causal", causal);
  const table = sized(checkTensor("weight", weight), "[numBuckets, numHeads]", undefined, undefined);
  const [numBuckets, numHeads] = table.shape as [number, number];
  const least = causal ? 2 : 4;
  checkInteger("weight.shape[0]", numBuckets, least);
  checkInteger("weight.shape[1]", numHeads, 1);
  const sided = causal ? numBuckets : Math.floor(numBuckets / 2);
  const exact = Math.floor(sided / 2);
  checkInteger("maxDistance", maxDistance, exact + 1);

  const perFactor = (sided - exact) / logarithmOf(maxDistance / exact);
  const bucketOf = (distance: number): number =>
    distance < exact
      ? distance
      : Math.min(sided - 1, exact + Math.floor(perFactor * logarithmOf(distance / exact) + SLACK));
  const data = freshArray(Float32Array, "bias", numHeads * seqLenQ * seqLenKv);
  const values = checkTypedArray("weight.data", table.data, "Float32Array", "a Float32Array");
  // One for each distance, from that of key 0 to the last query to that of the last key to query 0.
  const buckets = new Int32Array(data.length && seqLenQ + seqLenKv - 1);
  for (let n = 0; n < buckets.length; n++) {
    const behind = n - (seqLenQ - 1) - queryOffset;
    buckets[n] = causal ? bucketOf(Math.max(0, -behind)) : bucketOf(Math.abs(behind)) + (behind > 0 ? sided : 0);
  }
  const line = new Float32Array(buckets.length);
  for (let h = 0, row = 0; row < data.length; h++) {
    for (let n = 0; n < line.length; n++) line[n] = values[buckets[n]! * numHeads + h]!;
    for (let i = seqLenQ; i-- > 0; row += seqLenKv) data.set(line.subarray(i, i + seqLenKv), row);
  }
  return { data, shape: [numHeads, seqLenQ, seqLenKv] };
}
