// The whole multi-head layer beside the same graphs in onnxruntime.
import type { Heed, MultiHeadWeights } from "heed";
import { Int, type Node } from "../peers/onnx.ts";
import type { Form } from "../peers/onnx-forms.ts";
import type { OnnxRuntime } from "../peers/onnxruntime.ts";
import { transpose } from "../peers/peer.ts";
import { type Race, floats, makeFloats, toleranceOf } from "../harness/race.ts";
import { makeReference } from "../harness/reference.ts";
import { type Floats, makeProblem, shape } from "./shapes.ts";

/** Of the whole layer: tokens, dims and heads. */
const [SEQ_LEN, WIDTH, HEADS] = [512, 768, 12];
const LAYER = `layer 1×${SEQ_LEN}×${WIDTH}, ${HEADS} heads`;

export async function layerRace(builds: readonly Heed[], runtimes: readonly OnnxRuntime[]): Promise<Race> {
  const x = makeFloats(SEQ_LEN * WIDTH, 1);
  const [q, k, v, out] = [2, 3, 4, 5].map((seed) => makeFloats(WIDTH * WIDTH, seed, WIDTH)) as [
    Floats,
    Floats,
    Floats,
    Floats,
  ];
  const bias = makeFloats(4 * WIDTH, 6);
  const linear = (weight: Floats, n: number): MultiHeadWeights["q"] => ({
    weight: { data: weight, shape: [WIDTH, WIDTH] },
    bias: bias.subarray(n * WIDTH, (n + 1) * WIDTH),
  });
  const weights = { q: linear(q, 0), k: linear(k, 1), v: linear(v, 2), out: linear(out, 3) };

  const entrants: Race["entrants"] = [];
  for (const heed of builds) {
    const layer = heed.createMultiHeadAttention({ numHeads: HEADS, weights });
    const to = new Float32Array(SEQ_LEN * WIDTH);
    entrants.push({
      name: `heed ${heed.variant}`,
      form: "copied in and out",
      kind: "heed",
      run: () => layer.forward(x, { out: to }),
      result: () => layer.forward(x).out,
      dispose: () => layer.dispose(),
    });
  }
  for (const runtime of runtimes) {
    for (const form of layerForms(x, [q, k, v, out], bias)) entrants.push(await runtime.prepare(form));
  }
  const problem = makeProblem(shape(`1×${HEADS}×${SEQ_LEN}×${SEQ_LEN}×${WIDTH / HEADS}`));
  const flops = 8 * SEQ_LEN * WIDTH * WIDTH + 4 * SEQ_LEN * SEQ_LEN * WIDTH;
  const exact = exactRows(x, [q, k, v, out], bias);
  // Attention is a mean of rows of v, each off by what the tolerance of a product allows; the projection back adds its own.
  const tolerance = 2 * toleranceOf(WIDTH) + makeReference(problem).tolerance;
  return { what: LAYER, flops, entrants, exact, tolerance };
}

type Weights = readonly [q: Floats, k: Floats, v: Floats, out: Floats];

/** The layer as graphs: a MatMul for each projection, or com.microsoft.Attention, which has them within. */
function layerForms(x: Floats, weights: Weights, bias: Floats): Form[] {
  const inputs = { x: floats(x, [1, SEQ_LEN, WIDTH]) };
  const [wq, wk, wv, wo] = weights.map((weight) => transpose(weight, WIDTH, WIDTH)) as unknown as Weights;
  const square = [WIDTH, WIDTH];
  const back: Node[] = [
    { op: "MatMul", inputs: ["heads", "wo"], outputs: ["product"] },
    { op: "Add", inputs: ["product", "bo"], outputs: ["out"] },
  ];
  const shared = {
    wo: floats(wo, square),
    bo: floats(bias.slice(3 * WIDTH), [WIDTH]),
    bqkv: floats(bias.slice(0, 3 * WIDTH), [3 * WIDTH]),
  };
  const attributes: Node["attributes"] = { num_heads: new Int(HEADS) };
  const packed = new Float32Array(3 * WIDTH * WIDTH);
  [wq, wk, wv].forEach((weight, n) => {
    for (let t = 0; t < WIDTH; t++) packed.set(weight.subarray(t * WIDTH, (t + 1) * WIDTH), (3 * t + n) * WIDTH);
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
      constants: { ...shared, wqkv: floats(packed, [WIDTH, 3 * WIDTH]) },
      nodes: [
        { op: "Attention", domain: "com.microsoft", inputs: ["x", "wqkv", "bqkv"], outputs: ["heads"], attributes },
        ...back,
      ],
      toRows,
    },
  ];
}

/** Two rows of the layer's result in f64. */
function exactRows(x: Floats, [wq, wk, wv, wo]: Weights, bias: Floats): Map<number, number> {
  const project = (row: ArrayLike<number>, start: number, weight: Floats, n: number): Float64Array =>
    Float64Array.from({ length: WIDTH }, (_, o) => {
      let sum = bias[n * WIDTH + o]!;
      for (let t = 0; t < WIDTH; t++) sum += row[start + t]! * weight[o * WIDTH + t]!;
      return sum;
    });
  const rows = Array.from({ length: SEQ_LEN }, (_, j) => j);
  const k = rows.map((j) => project(x, j * WIDTH, wk, 1));
  const v = rows.map((j) => project(x, j * WIDTH, wv, 2));
  const dim = WIDTH / HEADS;
  const exact = new Map<number, number>();
  for (const i of [0, SEQ_LEN - 1]) {
    const q = project(x, i * WIDTH, wq, 0);
    const attended = new Float64Array(WIDTH);
    for (let start = 0; start < WIDTH; start += dim) {
      const p = k.map((key) => {
        let dot = 0;
        for (let d = start; d < start + dim; d++) dot += q[d]! * key[d]!;
        return Math.exp(dot / Math.sqrt(dim));
      });
      const l = p.reduce((sum, weight) => sum + weight, 0);
      for (let d = start; d < start + dim; d++)
        attended[d] = p.reduce((sum, weight, j) => sum + weight * v[j]![d]!, 0) / l;
    }
    project(attended, 0, wo, 3).forEach((value, o) => exact.set(i * WIDTH + o, value));
  }
  return exact;
}
