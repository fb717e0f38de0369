// The whole multi-head layer beside the same graphs in onnxruntime.
import type { Heed } from "heed";
import { type LayerProblem, makeLayerProblem } from "../harness/layer-problems.ts";
import { makeProblem, shape } from "../harness/problem.ts";
import { makeReference } from "../harness/reference.ts";
import { layerContender } from "../peers/heed-contenders.ts";
import { transpose } from "../peers/layout.ts";
import { Int, type Node, floats } from "../peers/onnx.ts";
import type { Form } from "../peers/onnx-forms.ts";
import type { OnnxRuntime } from "../peers/onnxruntime.ts";
import { type Race, toleranceOf } from "./race.ts";
import { LAYER, LAYER_NAME } from "./shapes.ts";

export async function layerRace(builds: readonly Heed[], runtimes: readonly OnnxRuntime[]): Promise<Race> {
  const problem = makeLayerProblem(LAYER);
  const { seqLen, width, numHeads } = problem;
  const entrants = builds.map((heed) => layerContender(heed, problem));
  for (const runtime of runtimes) {
    for (const form of layerForms(problem)) entrants.push(await runtime.prepare(form));
  }
  const attention = makeProblem(shape(`1×${numHeads}×${seqLen}×${seqLen}×${width / numHeads}`));
  const flops = 8 * seqLen * width * width + 4 * seqLen * seqLen * width;
  // Attention is a mean of rows of v, each off by the tolerance of a product at most; the last projection adds its own.
  const tolerance = 2 * toleranceOf(width) + makeReference(attention).tolerance;
  return { what: LAYER_NAME, flops, entrants, exact: exactRows(problem), tolerance };
}

/** The layer as graphs: a MatMul for each projection, or com.microsoft.Attention, which has them within. */
function layerForms({ seqLen, width, numHeads, x, weights, bias }: LayerProblem): Form[] {
  const inputs = { x: floats(x, [1, seqLen, width]) };
  type Weights = LayerProblem["weights"];
  const [wq, wk, wv, wo] = weights.map((weight) => transpose(weight, width, width)) as unknown as Weights;
  const square = [width, width];
  const back: Node[] = [
    { op: "MatMul", inputs: ["heads", "wo"], outputs: ["product"] },
    { op: "Add", inputs: ["product", "bo"], outputs: ["out"] },
  ];
  const shared = {
    wo: floats(wo, square),
    bo: floats(bias.slice(3 * width), [width]),
    bqkv: floats(bias.slice(0, 3 * width), [3 * width]),
  };
  const attributes: Node["attributes"] = { num_heads: new Int(numHeads) };
  const packed = new Float32Array(3 * width * width);
  [wq, wk, wv].forEach((weight, n) => {
    for (let t = 0; t < width; t++) packed.set(weight.subarray(t * width, (t + 1) * width), (3 * t + n) * width);
  });
  const toRows = (out: Float32Array): Float32Array => out;
  return [
    {
      name: "MatMul ×3, MultiHeadAttention with bias, MatMul + Add",
      inputs,
      constants: { ...shared, wq: floats(wq, square), wk: floats(wk, square), wv: floats(wv, square) },
      nodes: [
        ...["q", "k", "v"].map((name) => ({ op: "MatMul", inputs: ["x", `w${name}`], outputs: [name] })),
        {
          op: "MultiHeadAttention",
          domain: "com.microsoft",
          inputs: ["q", "k", "v", "bqkv"],
          outputs: ["heads"],
          attributes,
        },
        ...back,
      ],
      toRows,
    },
    {
      name: "com.microsoft.Attention, MatMul + Add",
      inputs,
      constants: { ...shared, wqkv: floats(packed, [width, 3 * width]) },
      nodes: [
        { op: "Attention", domain: "com.microsoft", inputs: ["x", "wqkv", "bqkv"], outputs: ["heads"], attributes },
        ...back,
      ],
      toRows,
    },
  ];
}

/** Two rows of the layer's result in f64. */
function exactRows({ seqLen, width, numHeads, x, weights, bias }: LayerProblem): Map<number, number> {
  const [wq, wk, wv, wo] = weights;
  const project = (row: ArrayLike<number>, start: number, weight: Float32Array, n: number): Float64Array =>
    Float64Array.from({ length: width }, (_, o) => {
      let sum = bias[n * width + o]!;
      for (let t = 0; t < width; t++) sum += row[start + t]! * weight[o * width + t]!;
      return sum;
    });
  const rows = Array.from({ length: seqLen }, (_, j) => j);
  const k = rows.map((j) => project(x, j * width, wk, 1));
  const v = rows.map((j) => project(x, j * width, wv, 2));
  const dim = width / numHeads;
  const exact = new Map<number, number>();
  for (const i of [0, seqLen - 1]) {
    const q = project(x, i * width, wq, 0);
    const attended = new Float64Array(width);
    for (let start = 0; start < width; start += dim) {
      const p = k.map((key) => {
        let dot = 0;
        for (let d = start; d < start + dim; d++) dot += q[d]! * key[d]!;
        return Math.exp(dot / Math.sqrt(dim));
      });
      const l = p.reduce((sum, weight) => sum + weight, 0);
      for (let d = start; d < start + dim; d++)
        attended[d] = p.reduce((sum, weight, j) => sum + weight * v[j]![d]!, 0) / l;
    }
    project(attended, 0, wo, 3).forEach((value, o) => exact.set(i * width + o, value));
  }
  return exact;
}
