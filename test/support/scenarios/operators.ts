// The operators of heed/onnx.
import {
  type OnnxTensor,
  onnxAttention,
  onnxGroupQueryAttention,
  onnxMultiHeadAttention,
  onnxRotaryEmbedding,
} from "../../../bindings/onnx/index.ts";
import { halvesOf } from "../halves.ts";
import { type Scenarios, copies, random, stateless } from "./scenario.ts";

const tables = { cos: random(40 * 8, 9), sin: random(40 * 8, 10) };
/** [batch, heads, rows, 16] for the operators of ONNX. */
const onnx = (headCount: number, rows: number, seed: number) => ({
  data: random(2 * headCount * rows * 16, seed),
  shape: [2, headCount, rows, 16],
});

const onnxCopies = (outputs: object) =>
  Object.values(outputs as Record<string, OnnxTensor>).flatMap(({ data }) => copies({ data }));

export const operators: Scenarios = {
  onnxAttention: (heed) => {
    const inputs = { Q: onnx(4, 3, 22), K: onnx(2, 4, 23), V: onnx(2, 4, 24) };
    const past = { past_key: onnx(2, 5, 25), past_value: onnx(2, 5, 26) };
    return stateless(() => onnxCopies(onnxAttention(heed, { ...inputs, ...past }, { is_causal: 1 })));
  },
  "onnxGroupQueryAttention in 16 bits": (heed) => {
    const half = (data: Float32Array, ...shape: number[]) => ({ ...halvesOf(data, "bf16"), shape });
    const inputs = {
      query: half(random(2 * 3 * 64, 22), 2, 3, 64),
      key: half(random(2 * 3 * 32, 23), 2, 3, 32),
      value: half(random(2 * 3 * 32, 24), 2, 3, 32),
      past_key: half(onnx(2, 5, 25).data, 2, 2, 5, 16),
      past_value: half(onnx(2, 5, 26).data, 2, 2, 5, 16),
      seqlens_k: { data: Int32Array.of(7, 7), shape: [2] },
      total_sequence_length: { data: Int32Array.of(8), shape: [1] },
      cos_cache: half(tables.cos, 40, 8),
      sin_cache: half(tables.sin, 40, 8),
      attention_bias: half(random(3 * 8, 9), 1, 1, 3, 8),
    };
    return stateless(() =>
      onnxCopies(onnxGroupQueryAttention(heed, inputs, { num_heads: 4, kv_num_heads: 2, do_rotary: 1 })),
    );
  },
  onnxGroupQueryAttention: (heed) => {
    const inputs = {
      query: { data: random(2 * 3 * 64, 22), shape: [2, 3, 64] },
      key: { data: random(2 * 3 * 32, 23), shape: [2, 3, 32] },
      value: { data: random(2 * 3 * 32, 24), shape: [2, 3, 32] },
      past_key: onnx(2, 5, 25),
      past_value: onnx(2, 5, 26),
      seqlens_k: { data: Int32Array.of(7, 7), shape: [2] },
      total_sequence_length: { data: Int32Array.of(8), shape: [1] },
      cos_cache: { data: tables.cos, shape: [40, 8] },
      sin_cache: { data: tables.sin, shape: [40, 8] },
    };
    return stateless(() =>
      onnxCopies(onnxGroupQueryAttention(heed, inputs, { num_heads: 4, kv_num_heads: 2, do_rotary: 1 })),
    );
  },
  onnxMultiHeadAttention: (heed) => {
    const inputs = {
      query: { data: random(2 * 3 * 64, 22), shape: [2, 3, 64] },
      key: { data: random(2 * 6 * 64, 23), shape: [2, 6, 64] },
      value: { data: random(2 * 6 * 64, 24), shape: [2, 6, 64] },
      bias: { data: random(3 * 64, 25), shape: [192] },
    };
    return stateless(() => onnxCopies(onnxMultiHeadAttention(heed, inputs, { num_heads: 4 })));
  },
  onnxRotaryEmbedding: (heed) => {
    const inputs = {
      X: onnx(4, 5, 27),
      cos_cache: { data: tables.cos, shape: [40, 8] },
      sin_cache: { data: tables.sin, shape: [40, 8] },
      position_ids: { data: Int32Array.from({ length: 10 }, (_, n) => n), shape: [2, 5] },
    };
    return stateless(() => onnxCopies(onnxRotaryEmbedding(heed, inputs, {})));
  },
};
