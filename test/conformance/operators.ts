// Third-party cases by way of heed/onnx.
import type { Heed } from "../../bindings/heed.ts";
import {
  type OnnxFloats,
  onnxAttention,
  onnxGroupQueryAttention,
  onnxMultiHeadAttention,
  onnxRotaryEmbedding,
} from "../../bindings/onnx/index.ts";
import type { CaseRef, Value, Values } from "./load.ts";

type Operator = (heed: Heed, inputs: never, attributes: never) => object;

const operators: Partial<Record<string, Operator>> = {
  // Of both domains.
  Attention: onnxAttention,
  RotaryEmbedding: onnxRotaryEmbedding,
  GroupQueryAttention: onnxGroupQueryAttention,
  MultiHeadAttention: onnxMultiHeadAttention,
};

export const isOperator = ({ op }: CaseRef): boolean => op in operators;

/** The outputs of a case, which are made as they are read. */
export function runOperator(heed: Heed, inputs: Values, { op, attrs }: CaseRef): Partial<Record<string, OnnxFloats>> {
  const tensors = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, tensorOf(value!)]));
  return operators[op]!(heed, tensors as never, attrs as never);
}

/** As heed/onnx takes it, in its own type. */
function tensorOf({ dtype, shape, data, halves }: Value): { data: unknown; shape: number[] } {
  if (halves) return { ...halves, shape };
  if (dtype === "bool") return { data: Uint8Array.from(data), shape };
  if (dtype === "int32") return { data: Int32Array.from(data), shape };
  if (dtype === "int64") return { data: BigInt64Array.from(Array.from(data, BigInt)), shape };
  return { data, shape };
}
