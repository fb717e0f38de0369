// The backend tests of ONNX: a folder for each case, with a model of one node, its inputs and outputs in protobuf.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import protobuf from "protobufjs";
import { ONNX, named } from "./operators.js";

/** @type {import("./repository.js").Source} */
export const SOURCE = {
  repository: "onnx/onnx",
  // August 2026. Later commits do not store what onnx/backend/test/case/node/ generates.
  commit: "6be0677fc22e74563e6eb472f931513aefe5648d",
  patterns: [
    "/onnx/onnx.proto",
    "/onnx/backend/test/data/node/test_attention*/",
    "/onnx/backend/test/data/node/test_rotary*/",
    "!*_expanded/",
  ],
  licence: "Apache-2.0",
};

/** TensorProto.DataType */
const DTYPES = new Map([
  [1, "float32"],
  [2, "uint8"],
  [3, "int8"],
  [6, "int32"],
  [7, "int64"],
  [9, "bool"],
  [10, "float16"],
  [11, "float64"],
  [16, "bfloat16"],
]);

/**
 * The fields that are read here of what onnx.proto describes; 64-bit integers come as decimal strings.
 * @typedef {{ name: string; type: string; f?: number; i?: string }} Attribute
 * @typedef {{ opType: string; domain?: string; input: string[]; output: string[]; attribute?: Attribute[] }} Node
 * @typedef {{ name: string }} ValueInfo
 * @typedef {{ node: Node[]; input: ValueInfo[]; output: ValueInfo[] }} Graph
 * @typedef {{ graph: Graph; opsetImport: { domain?: string; version: string }[] }} Model
 * @typedef {{ dims?: string[]; dataType: number; rawData?: Uint8Array }} TensorProto
 */

/**
 * The cases in a checkout of the repository, by operator.
 * @param {string} folder
 */
export function casesOf(folder) {
  const { root } = protobuf.parse(readFileSync(join(folder, "onnx/onnx.proto"), "utf8"));
  /** @type {(type: string, path: string) => unknown} */
  const read = (type, path) => {
    const message = root.lookupType(type);
    return message.toObject(message.decode(readFileSync(path)), { longs: String, enums: String });
  };
  const data = join(folder, "onnx/backend/test/data/node");
  const names = readdirSync(data).filter((name) => /^test_(attention|rotary)/.test(name) && !/_expanded/.test(name));
  return names.sort().map((name) => {
    const model = /** @type {Model} */ (read("onnx.ModelProto", join(data, name, "model.onnx")));
    /** @type {(kind: string) => (_: ValueInfo, at: number) => import("./tensor-cases.js").Tensor} */
    const tensors = (kind) => (_, at) =>
      tensorOf(
        /** @type {TensorProto} */ (read("onnx.TensorProto", join(data, name, `test_data_set_0/${kind}_${at}.pb`))),
      );
    return caseOf(name, model, tensors);
  });
}

/**
 * @param {string} name
 * @param {Model} model
 * @param {(kind: string) => (info: ValueInfo, at: number) => import("./tensor-cases.js").Tensor} tensors
 * @returns {import("./tensor-cases.js").Case}
 */
function caseOf(name, { graph, opsetImport }, tensors) {
  const [node] = graph.node;
  const operator = node && ONNX[node.opType];
  if (!operator || node.domain || graph.node.length !== 1) throw new Error(`${name} is not one operator of ONNX`);
  /** @type {(kind: string, infos: ValueInfo[]) => Map<string, import("./tensor-cases.js").Tensor>} */
  const byName = (kind, infos) => new Map(infos.map((info, at) => [info.name, tensors(kind)(info, at)]));
  const inputs = byName("input", graph.input);
  const outputs = byName("output", graph.output);
  return {
    name,
    op: node.opType,
    domain: "",
    opset: Number(opsetImport.find(({ domain = "" }) => domain === "")?.version),
    attrs: Object.fromEntries((node.attribute ?? []).map((attribute) => [attribute.name, valueOf(attribute)])),
    inputs: named(
      operator.inputs,
      node.input.map((input) => inputs.get(input)),
    ),
    outputs: named(
      operator.outputs,
      node.output.map((output) => outputs.get(output)),
    ),
  };
}

/** @param {Attribute} attribute */
function valueOf({ name, type, f, i }) {
  if (type === "FLOAT") return f ?? 0;
  if (type === "INT") return Number(i ?? 0);
  throw new Error(`the attribute ${name} is of a type that no case had when this was written: ${type}`);
}

/**
 * @param {TensorProto} tensor
 * @returns {import("./tensor-cases.js").Tensor}
 */
function tensorOf({ dims = [], dataType, rawData }) {
  const dtype = DTYPES.get(dataType);
  const shape = dims.map(Number);
  if (!dtype) throw new Error(`a tensor of the type ${dataType}, which no case had when this was written`);
  if (!rawData && !shape.includes(0))
    throw new Error("a tensor that is not raw_data, as no case was when this was written");
  return { dtype, shape, bytes: rawData ?? new Uint8Array() };
}
