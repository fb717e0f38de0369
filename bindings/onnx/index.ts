/**
 * The attention operators of ONNX and ONNX Runtime by their own inputs, attributes and outputs. Each function takes an
 * instance of heed first; tensors are `{ data, shape }`.
 *
 * @module heed/onnx
 */
export {
  type OnnxAttentionAttributes,
  type OnnxAttentionInputs,
  type OnnxAttentionOutputs,
  onnxAttention,
} from "./attention.ts";
export type {
  ContribAttentionAttributes,
  ContribAttentionInputs,
  ContribAttentionOutputs,
} from "./contrib-attention.ts";
export {
  type OnnxGroupQueryAttentionAttributes,
  type OnnxGroupQueryAttentionInputs,
  type OnnxGroupQueryAttentionOutputs,
  onnxGroupQueryAttention,
} from "./group-query-attention.ts";
export type { OnnxCache, OnnxCacheData } from "./group-query-cache.ts";
export type { OnnxPadding } from "./masks.ts";
export {
  type OnnxMultiHeadAttentionAttributes,
  type OnnxMultiHeadAttentionInputs,
  type OnnxMultiHeadAttentionOutputs,
  onnxMultiHeadAttention,
} from "./multi-head-attention.ts";
export {
  type OnnxRotaryEmbeddingAttributes,
  type OnnxRotaryEmbeddingInputs,
  type OnnxRotaryEmbeddingOutputs,
  onnxRotaryEmbedding,
} from "./rotary-embedding.ts";
export type {
  OnnxBooleans,
  OnnxFloats,
  OnnxHalves,
  OnnxIntegers,
  OnnxLike,
  OnnxNumber,
  OnnxTensor,
} from "./operands.ts";
