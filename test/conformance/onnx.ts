// The operator Attention of ONNX (opsets 23 to 25, https://onnx.ai/onnx/operators/onnx__Attention.html) on heed.attention.

import type { Heed } from "../../bindings/heed.ts";
import type { Stage } from "../../bindings/weights.ts";
import type { PlainOptions } from "../reference.ts";
import type { CaseRef, Value } from "./load.ts";
import { type Rows, appended, packed, rowsOf } from "./rows.ts";

export type Values = Partial<Record<string, Value>>;

/** A numeric attribute. */
export function number(attrs: CaseRef["attrs"], name: string, missing: number): number {
  const value = attrs[name];
  return typeof value === "number" ? value : missing;
}

export function onnxAttention(
  heed: Pick<Heed, "attention" | "attentionWeights">,
  inputs: Values,
  attrs: CaseRef["attrs"],
): Record<string, Float32Array> {
  const { Q, K, V, attn_mask: mask, past_key: pastKey, past_value: pastValue, nonpad_kv_seqlen: nonpad } = inputs;
  if (!Q || !K || !V) throw new Error("Q, K and V are required");
  const numHeads = Q.shape.length === 4 ? Q.shape[1]! : number(attrs, "q_num_heads", 1);
  const numKvHeads = K.shape.length === 4 ? K.shape[1]! : number(attrs, "kv_num_heads", 1);
  const q = rowsOf(Q, numHeads);
  let k = rowsOf(K, numKvHeads);
  let v = rowsOf(V, numKvHeads);
  if (pastKey && pastValue) {
    k = appended(rowsOf(pastKey, numKvHeads), k);
    v = appended(rowsOf(pastValue, numKvHeads), v);
  }
  const sizes = { numHeads, numKvHeads, headDim: q.dim, valueDim: v.dim, batch: q.batch };
  const options: PlainOptions = { ...sizes, ...positionOptions(attrs, q, pastKey, nonpad) };
  if (attrs.scale !== undefined) options.scale = number(attrs, "scale", 1);
  const softcap = number(attrs, "softcap", 0);
  if (softcap > 0) options.softcap = softcap;
  if (mask?.dtype === "bool") {
    const { data, shape } = paddedMask(mask, k.length, 0);
    options.keepMask = { data: Uint8Array.from(data), shape };
  } else if (mask) {
    options.bias = paddedMask(mask, k.length, -Infinity);
  }

  const stage = STAGES[number(attrs, "qk_matmul_output_mode", 0)]!;
  // The scores before the masks are those of every key.
  const kvLengths = stage === "scores" || stage === "softcap" ? undefined : options.kvLengths;
  const { weights } = heed.attentionWeights(q.data, k.data, { ...options, kvLengths, layout: "bhld", stage });
  const others = { present_key: k.data, present_value: v.data, qk_matmul_output: weights };
  // Three dimensions without a past are heed's "blhd" as they are.
  if (Q.shape.length === 3 && K.shape.length === 3 && V.shape.length === 3 && !pastKey) {
    return { Y: heed.attention(Q.data, K.data, V.data, { ...options, layout: "blhd" }).out, ...others };
  }
  const { out } = heed.attention(q.data, k.data, v.data, { ...options, layout: "bhld" });
  return { Y: Q.shape.length === 3 ? packed({ ...q, dim: v.dim, data: out }) : out, ...others };
}

/** What qk_matmul_output is, by its mode. */
const STAGES: readonly Stage[] = ["scores", "softcap", "masked", "softmax"];

/** Query 0 stands behind the past; with nonpad_kv_seqlen the last query at the last valid key; else at key 0. */
function positionOptions(
  attrs: CaseRef["attrs"],
  q: Rows,
  pastKey: Value | undefined,
  nonpad: Value | undefined,
): Partial<PlainOptions> {
  const options: Partial<PlainOptions> = {
    causal: number(attrs, "is_causal", 0) === 1,
    queryOffset: pastKey?.shape[2] ?? 0,
  };
  if (nonpad) options.kvLengths = Int32Array.from(nonpad.data);
  if (nonpad && !pastKey) options.queryOffset = Int32Array.from(nonpad.data, (length) => length - q.length);
  const left = number(attrs, "left_window_size", -1);
  const right = number(attrs, "right_window_size", -1);
  if (left >= 0 || right >= 0) {
    options.window = { left: left < 0 ? undefined : left, right: right < 0 ? undefined : right };
  }
  return options;
}

/** A mask over fewer keys than there are says nothing of the last ones: `masked` for them. */
function paddedMask({ data, shape }: Value, keys: number, masked: number): { data: Float32Array; shape: number[] } {
  const own = shape.at(-1) ?? 1;
  if (shape.length === 0 || own >= keys) return { data, shape };
  const longer = new Float32Array((data.length / own) * keys).fill(masked);
  for (let row = 0; row < data.length / own; row++) longer.set(data.subarray(row * own, (row + 1) * own), row * keys);
  return { data: longer, shape: [...shape.slice(0, -1), keys] };
}
