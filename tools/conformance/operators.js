// What the operators call their inputs and outputs, in order. Both sources give them by place.

/** @typedef {{ inputs: string[]; outputs: string[] }} Operator */

/** Of ONNX: docs/Operators.md. @type {Record<string, Operator>} */
export const ONNX = {
  Attention: {
    inputs: ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"],
    outputs: ["Y", "present_key", "present_value", "qk_matmul_output"],
  },
  RotaryEmbedding: { inputs: ["X", "cos_cache", "sin_cache", "position_ids"], outputs: ["Y"] },
};

/** Of com.microsoft: docs/ContribOperators.md of ONNX Runtime. @type {Record<string, Operator>} */
export const CONTRIB = {
  Attention: {
    inputs: ["input", "weights", "bias", "mask_index", "past", "attention_bias", "past_sequence_length"],
    outputs: ["output", "present"],
  },
  MultiHeadAttention: {
    inputs: ["query", "key", "value", "bias", "key_padding_mask", "attention_bias", "past_key", "past_value"],
    outputs: ["output", "present_key", "present_value"],
  },
  GroupQueryAttention: {
    inputs: [
      "query",
      "key",
      "value",
      "past_key",
      "past_value",
      "seqlens_k",
      "total_sequence_length",
      "cos_cache",
      "sin_cache",
      "position_ids",
      "attention_bias",
      "head_sink",
    ],
    outputs: ["output", "present_key", "present_value"],
  },
  RotaryEmbedding: { inputs: ["input", "position_ids", "cos_cache", "sin_cache"], outputs: ["output"] },
};

/**
 * Tensors by name; those that are not there are left out.
 * @template T
 * @param {string[]} names
 * @param {(T | undefined)[]} tensors
 * @returns {Record<string, T>}
 */
export function named(names, tensors) {
  if (tensors.length > names.length) throw new Error(`expected at most ${names.length} tensors, got ${tensors.length}`);
  return Object.fromEntries(tensors.flatMap((tensor, at) => (tensor === undefined ? [] : [[names[at] ?? "", tensor]])));
}
