// The linear layer as ONNX graphs.
import type { LinearProblem } from "../harness/layer-problems.ts";
import { transpose } from "./layout.ts";
import { type Node, floats } from "./onnx.ts";
import type { Form } from "./onnx-forms.ts";

/** The product and the sum as a graph, with the weight as a constant of the graph and as an input. */
export function linearForms({ rows, inFeatures, outFeatures, x, weight, bias }: LinearProblem): Form[] {
  const w = floats(transpose(weight, outFeatures, inFeatures), [inFeatures, outFeatures]);
  const given = { x: floats(x, [rows, inFeatures]) };
  const b = floats(bias, [outFeatures]);
  const nodes: Node[] = [
    { op: "MatMul", inputs: ["x", "w"], outputs: ["product"] },
    { op: "Add", inputs: ["product", "b"], outputs: ["out"] },
  ];
  const toRows = (out: Float32Array): Float32Array => out;
  return [
    { name: "MatMul + Add, constant weight", inputs: given, constants: { w, b }, nodes, toRows },
    { name: "MatMul + Add", inputs: { ...given, w, b }, nodes, toRows },
  ];
}
