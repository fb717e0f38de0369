// The contrib operators of ONNX Runtime that are attention
// (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md) on heed.attention.

import { MultiHeadAttention } from "heed";
import type { Heed } from "../../bindings/heed.ts";
import type { PlainOptions } from "../reference.ts";
import type { CaseRef, Value } from "./load.ts";
import { type Values, number } from "./onnx.ts";
import { rotated } from "./rotary.ts";
import { type Rows, appended, packed, part, rowsOf } from "./rows.ts";

type Outputs = Record<string, Float32Array>;

/** GroupQueryAttention: causal, over a cache whose valid part may differ in length from sequence to sequence. */
export function groupQueryAttention(heed: Heed, inputs: Values, attrs: CaseRef["attrs"]): Outputs {
  const numHeads = number(attrs, "num_heads", 1);
  const numKvHeads = number(attrs, "kv_num_heads", 1);
  const { seqlens_k: lengths, total_sequence_length: total, head_sink: headSink, attention_bias: bias } = inputs;
  const { query, key, value } = splitQkv(inputs, numHeads, numKvHeads);
  let q = rowsOf(query, numHeads);
  let k = rowsOf(key, numKvHeads);
  const v = rowsOf(value, numKvHeads);
  const kvLengths = Int32Array.from(lengths!.data, (last) => last + 1);
  const prompt = q.length === total!.data[0];
  const pastLengths = kvLengths.map((length) => (prompt ? 0 : length - q.length));

  if (number(attrs, "do_rotary", 0) === 1) {
    const { length } = q;
    const { cos_cache: cos, sin_cache: sin, position_ids: ids } = inputs;
    const positions = Int32Array.from({ length: q.batch * length }, (_, at) => {
      return ids?.data[at] ?? pastLengths[Math.floor(at / length)]! + (at % length);
    });
    const interleaved = number(attrs, "rotary_interleaved", 0) === 1;
    q = rotated(heed, q, cos!, sin!, positions, interleaved);
    k = rotated(heed, k, cos!, sin!, positions, interleaved);
  }
  const presentKey = written(rowsOf(inputs.past_key!, numKvHeads), k, pastLengths);
  const presentValue = written(rowsOf(inputs.past_value!, numKvHeads), v, pastLengths);

  const options: PlainOptions = {
    numHeads,
    numKvHeads,
    headDim: q.dim,
    batch: q.batch,
    causal: true,
    queryOffset: pastLengths,
    kvLengths,
  };
  const window = number(attrs, "local_window_size", -1);
  if (window > 0) options.window = { left: window - 1 };
  const softcap = number(attrs, "softcap", 0);
  if (softcap > 0) options.softcap = softcap;
  const scale = number(attrs, "scale", 0);
  if (scale !== 0) options.scale = scale;
  // Smooth softmax: one more logit of 0.
  if (number(attrs, "smooth_softmax", 0) === 1) options.sinks = new Float32Array(numHeads);
  if (headSink) options.sinks = headSink.data;
  if (bias) options.bias = bias;
  const { out } = heed.attention(q.data, presentKey.data, presentValue.data, { ...options, layout: "bhld" });
  return { output: packed({ ...q, data: out }), present_key: presentKey.data, present_value: presentValue.data };
}

/** MultiHeadAttention without causal masking; key and value may come as [batch, heads, length, dim]. */
export function multiHeadAttention(heed: Heed, inputs: Values, attrs: CaseRef["attrs"]): Outputs {
  const numHeads = number(attrs, "num_heads", 1);
  const { query, key, value, attention_bias: bias, past_key: pastKey, past_value: pastValue } = inputs;
  const q = rowsOf(query!, numHeads);
  let k = rowsOf(key!, numHeads);
  let v = rowsOf(value!, numHeads);
  if (pastKey && pastValue) {
    k = appended(rowsOf(pastKey, numHeads), k);
    v = appended(rowsOf(pastValue, numHeads), v);
  }
  const options: PlainOptions = { numHeads, headDim: q.dim, valueDim: v.dim, batch: q.batch, layout: "bhld" };
  if (bias) options.bias = bias;
  const { out } = heed.attention(q.data, k.data, v.data, options);
  return { output: packed({ ...q, dim: v.dim, data: out }), present_key: k.data, present_value: v.data };
}

/** Attention of com.microsoft: the layer, without a projection back. */
export function packedAttention(heed: Heed, inputs: Values, attrs: CaseRef["attrs"]): Outputs {
  const { input, weights, bias } = inputs;
  const layer = MultiHeadAttention.fromOnnx({ weights: weights!, bias }, { num_heads: number(attrs, "num_heads", 1) });
  using attention = heed.createMultiHeadAttention(layer);
  return { output: attention.forward(input!.data, { batch: input!.shape[0] }).out };
}

/** q, k and v of their own, or one tensor [batch, length, (numHeads + 2·numKvHeads)·headDim]. */
function splitQkv(inputs: Values, numHeads: number, numKvHeads: number): { query: Value; key: Value; value: Value } {
  const { query, key, value } = inputs;
  if (key && value) return { query: query!, key, value };
  const [batch, length, width] = query!.shape as [number, number, number];
  const dim = width / (numHeads + 2 * numKvHeads);
  const columns = (from: number, heads: number): Value => {
    const data = new Float32Array(batch * length * heads * dim);
    for (let row = 0; row < batch * length; row++) {
      const at = row * width + from * dim;
      data.set(query!.data.subarray(at, at + heads * dim), row * heads * dim);
    }
    return { dtype: query!.dtype, shape: [batch, length, heads * dim], data };
  };
  return {
    query: columns(0, numHeads),
    key: columns(numHeads, numKvHeads),
    value: columns(numHeads + numKvHeads, numKvHeads),
  };
}

/** The first pastLengths[batch entry] rows of `past`, then those of `next`, then zeros as far as the cache goes. */
function written(past: Rows, next: Rows, pastLengths: Int32Array): Rows {
  const length = Math.max(past.length, ...pastLengths.map((pastLength) => pastLength + next.length));
  const present: Rows = { ...next, length, data: new Float32Array(next.batch * next.heads * length * next.dim) };
  for (let n = 0; n < next.batch * next.heads; n++) {
    const at = pastLengths[Math.floor(n / next.heads)]! * next.dim;
    part(present, n).set(part(past, n).subarray(0, at));
    part(present, n).set(part(next, n), at);
  }
  return present;
}
