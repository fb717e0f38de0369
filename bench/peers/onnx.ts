import protobuf from "protobufjs";

/** The part of onnx.proto (ONNX 1.18) that a model of a few nodes needs. */
const SCHEMA = `
  syntax = "proto3";
  message Model { int64 ir_version = 1; repeated OperatorSet opset_import = 8; Graph graph = 7; }
  message OperatorSet { string domain = 1; int64 version = 2; }
  message Graph {
    repeated Node node = 1;
    string name = 2;
    repeated Constant initializer = 5;
    repeated ValueInfo input = 11;
    repeated ValueInfo output = 12;
  }
  message Constant { repeated int64 dims = 1; int32 data_type = 2; string name = 8; bytes raw_data = 9; }
  message Node {
    repeated string input = 1;
    repeated string output = 2;
    string op_type = 4;
    repeated Attribute attribute = 5;
    string domain = 7;
  }
  message Attribute { string name = 1; float f = 2; int64 i = 3; int32 type = 20; }
  message ValueInfo { string name = 1; Type type = 2; }
  message Type { Tensor tensor_type = 1; }
  message Tensor { int32 elem_type = 1; Dims shape = 2; }
  message Dims { repeated Dim dim = 1; }
  message Dim { int64 dim_value = 1; }
`;

const Model = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType("Model");

const ELEMENT_TYPES = { float32: 1, int32: 6, bool: 9 } as const;
const FLOAT_ATTRIBUTE = 1;
const INT_ATTRIBUTE = 2;

/** A tensor for onnxruntime, and its type in the model. */
export type Input =
  | { type: "float32"; data: Float32Array; dims: number[] }
  | { type: "int32"; data: Int32Array; dims: number[] }
  | { type: "bool"; data: Uint8Array; dims: number[] };

export function floats(data: Float32Array, dims: number[]): Input {
  return { type: "float32", data, dims };
}

export interface Node {
  op: string;
  /** Default the ONNX operators themselves. */
  domain?: "com.microsoft";
  /** Names; "" leaves an optional input out. */
  inputs: string[];
  outputs: string[];
  attributes?: Record<string, number | Int>;
}

/** An integer attribute; plain numbers are floats. */
export class Int {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** The bytes of a model of these nodes whose result is called "out". What is constant is part of the model. */
export function encodeModel(
  inputs: Record<string, Input>,
  nodes: readonly Node[],
  constants: Record<string, Input> = {},
): Uint8Array {
  const model = {
    ir_version: 10,
    opset_import: [
      { domain: "", version: 23 },
      { domain: "com.microsoft", version: 1 },
    ],
    graph: {
      name: "attention",
      input: Object.entries(inputs).map(([name, { type, dims }]) => ({
        name,
        type: {
          tensor_type: { elem_type: ELEMENT_TYPES[type], shape: { dim: dims.map((dim) => ({ dim_value: dim })) } },
        },
      })),
      initializer: Object.entries(constants).map(([name, { type, data, dims }]) => ({
        name,
        dims,
        data_type: ELEMENT_TYPES[type],
        raw_data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      })),
      output: [{ name: "out", type: { tensor_type: { elem_type: ELEMENT_TYPES.float32 } } }],
      node: nodes.map(({ op, domain, inputs, outputs, attributes }) => ({
        op_type: op,
        domain: domain ?? "",
        input: inputs,
        output: outputs,
        attribute: Object.entries(attributes ?? {}).map(([name, value]) =>
          value instanceof Int
            ? { name, i: value.value, type: INT_ATTRIBUTE }
            : { name, f: value, type: FLOAT_ATTRIBUTE },
        ),
      })),
    },
  };
  return Model.encode(Model.fromObject(model)).finish();
}
