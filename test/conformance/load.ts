// Reads tensor-cases/1: NAME.json lists the cases, NAME.bin holds their tensors, little-endian and in C order.

import type { HalfArray } from "../../bindings/memory/data.ts";
import { floatsOf as widened } from "../support/halves.ts";

export type DType = "float32" | "float64" | "float16" | "bfloat16" | "int8" | "uint8" | "int32" | "int64" | "bool";

export interface TensorRef {
  dtype: DType;
  shape: number[];
  offset: number;
  bytes: number;
}

export interface CaseRef {
  name: string;
  op: string;
  domain?: string;
  opset?: number | null;
  attrs: Record<string, number | string | number[] | object>;
  inputs: Record<string, TensorRef>;
  outputs: Record<string, TensorRef>;
  tolerance?: { rtol: number; atol: number };
  /** Why no exact implementation can pass. */
  skip?: string;
}

export interface Manifest {
  format: "tensor-cases/1";
  bin: string;
  cases: CaseRef[];
}

/** A tensor; every kind of number as f32. */
export interface Value {
  dtype: DType;
  shape: number[];
  data: Float32Array<ArrayBuffer>;
  /** The same in the type of the tensor, where that has 16 bits. */
  halves?: HalfArray & { data: Uint16Array };
}

export type Values = Partial<Record<string, Value>>;

/** A numeric attribute. */
export function number(attrs: CaseRef["attrs"], name: string, missing: number): number {
  const value = attrs[name];
  return typeof value === "number" ? value : missing;
}

export function valueOf(bin: ArrayBuffer, { dtype, shape, offset, bytes }: TensorRef): Value {
  const type = HALVES[dtype];
  if (!type) return { dtype, shape, data: floatsOf(bin, dtype, offset, bytes) };
  const halves = { data: new Uint16Array(bin, offset, bytes / 2), dtype: type };
  return { dtype, shape, data: widened(halves), halves };
}

/** What heed calls the types of 16 bits. */
export const HALVES: Partial<Record<DType, HalfArray["dtype"]>> = { float16: "f16", bfloat16: "bf16" };

function floatsOf(bin: ArrayBuffer, dtype: DType, offset: number, bytes: number): Float32Array<ArrayBuffer> {
  switch (dtype) {
    case "float32":
      return new Float32Array(bin, offset, bytes / 4);
    case "float64":
      return Float32Array.from(new Float64Array(bin, offset, bytes / 8));
    case "int64":
      return Float32Array.from(new BigInt64Array(bin, offset, bytes / 8), Number);
    case "int32":
      return Float32Array.from(new Int32Array(bin, offset, bytes / 4));
    case "int8":
      return Float32Array.from(new Int8Array(bin, offset, bytes));
    default:
      return Float32Array.from(new Uint8Array(bin, offset, bytes));
  }
}
