// Calls of every operator of heed/onnx, of any sizes.
import { expect } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import {
  onnxAttention,
  onnxGroupQueryAttention,
  onnxMultiHeadAttention,
  onnxRotaryEmbedding,
} from "../../bindings/onnx/index.ts";
import { ints } from "./onnx.ts";

export type Outputs = Record<string, { data: Float32Array; shape: number[] }>;
/** Any of the operators. */
export type Operator = (heed: Heed, inputs: never, attributes: never) => Outputs;
export const operators = {
  onnxAttention,
  onnxMultiHeadAttention,
  onnxGroupQueryAttention,
  onnxRotaryEmbedding,
} as unknown as Record<string, Operator>;
/** Attention, MultiHeadAttention, GroupQueryAttention and RotaryEmbedding. */
export const [A, M, G, R] = Object.values(operators) as [Operator, Operator, Operator, Operator];

export const shape = (...sizes: number[]) => ({
  data: new Float32Array(sizes.reduce((a, b) => a * b, 1)),
  shape: sizes,
});
export const longs = (...data: bigint[]) => ({ data: BigInt64Array.from(data), shape: [data.length] });
export const tables = { cos_cache: shape(9, 2), sin_cache: shape(9, 2) };
export const heads = { num_heads: 2 };
export const gqa = { num_heads: 4, kv_num_heads: 2 };

/** A call by its name: the operator, its inputs and its attributes. */
export type Call = [name: string, operator: Operator, inputs: object, attributes: object];

/** Inputs and attributes of a call of each operator, `b` sequences of `q` new rows, `p` past keys and `k` new ones. */
export function calls(b: number, q: number, k: number, p: number): Call[] {
  const lengths = (n: number) => ({ data: new Int32Array(b).fill(n), shape: [b] });
  const past = p > 0 && { past_key: shape(b, 2, p, 4), past_value: shape(b, 2, p, 4) };
  return [
    ["Attention", A, { Q: shape(b, 4, q, 4), K: shape(b, 2, k, 4), V: shape(b, 2, k, 4), ...past }, {}],
    [
      "Attention of 3 dimensions",
      A,
      {
        Q: shape(b, q, 16),
        K: shape(b, k, 8),
        V: shape(b, k, 8),
        ...past,
        nonpad_kv_seqlen: lengths(0),
        attn_mask: shape(q, 0),
      },
      { q_num_heads: 4, kv_num_heads: 2, is_causal: 1 },
    ],
    [
      "com.microsoft.Attention",
      A,
      {
        input: shape(b, k, 6),
        weights: shape(6, 24),
        bias: shape(24),
        past: shape(2, b, 2, p, 4),
        mask_index: lengths(p),
      },
      { num_heads: 2, unidirectional: 1 },
    ],
    [
      "MultiHeadAttention",
      M,
      {
        query: shape(b, q, 8),
        key: shape(b, k, 8),
        value: shape(b, k, 8),
        ...past,
        bias: shape(24),
        key_padding_mask: lengths(1),
      },
      heads,
    ],
    ["MultiHeadAttention, packed", M, { query: shape(b, q, 2, 3, 4) }, heads],
    [
      "MultiHeadAttention, kv packed",
      M,
      { query: shape(b, q, 8), key: shape(b, k, 2, 2, 4), attention_bias: shape(1, 2, q, k) },
      heads,
    ],
    ...(p + k > 0 || b === 0
      ? ([
          [
            "GroupQueryAttention",
            G,
            {
              query: shape(b, q, 16),
              key: shape(b, k, 8),
              value: shape(b, k, 8),
              ...past,
              seqlens_k: lengths(p + k - 1),
              total_sequence_length: ints([p + k]),
              ...tables,
            },
            { ...gqa, do_rotary: 1 },
          ],
        ] as Call[])
      : []),
    [
      "RotaryEmbedding",
      R,
      { X: shape(b, 2, q, 4), ...tables, position_ids: { data: new Int32Array(b * q), shape: [b, q] } },
      {},
    ],
    [
      "RotaryEmbedding, tables for each row",
      R,
      { X: shape(b, q, 8), cos_cache: shape(b, q, 2), sin_cache: shape(b, q, 2) },
      { num_heads: 2 },
    ],
    ["com.microsoft.RotaryEmbedding", R, { input: shape(b, q, 8), ...tables, position_ids: ints([0]) }, {}],
  ];
}

/** The shapes of all outputs, each of which has as many elements as its shape says. */
export function shapesOf(outputs: Outputs): Record<string, number[]> {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data, shape }]) => {
      expect(data).toHaveLength(shape.reduce((a, b) => a * b, 1));
      expect(data.every((x) => x === 0 || x === -Infinity || Number.isFinite(x))).toBe(true);
      return [name, shape];
    }),
  );
}
