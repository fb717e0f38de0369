import { type Problem, sees } from "../harness/problem.ts";
import type { Floats } from "../harness/random.ts";
import { MASKED, biasOf, byHeads, expandHeads, fromHeads, scaled, transpose } from "./layout.ts";
import { type Input, Int, type Node, floats } from "./onnx.ts";

/** One ONNX graph that computes a problem, with its inputs in the layout that suits it best. */
export interface Form {
  name: string;
  inputs: Record<string, Input>;
  /** What the runtime may prepare when it loads the graph. */
  constants?: Record<string, Input>;
  nodes: Node[];
  /** The graph's output as [batch, seqLenQ, numHeads, headDim]. */
  toRows(out: Float32Array): Float32Array;
}

/** Every graph worth trying: which one is fastest depends on shape and machine. */
export function formsOf(problem: Problem): Form[] {
  const { causal, window } = problem.shape;
  const forms = [multiHeadAttention(problem), attention23(problem)];
  if (causal) forms.push(groupQueryAttention(problem));
  forms.push(window === undefined ? matMuls(problem) : bandedMatMuls(problem));
  return forms;
}

/** com.microsoft.MultiHeadAttention: Q is [batch, rows, heads·dim], K and V are by heads; only Q is transposed. */
function multiHeadAttention(problem: Problem): Form {
  const { batch, numHeads, seqLenQ, seqLenKv, headDim, causal, window, kvLengths } = problem.shape;
  const { k, v } = byHeads(problem);
  const kvDims = [batch, numHeads, seqLenKv, headDim];
  const inputs: Form["inputs"] = {
    q: floats(problem.q, [batch, seqLenQ, numHeads * headDim]),
    k: floats(expandHeads(k, problem), kvDims),
    v: floats(expandHeads(v, problem), kvDims),
  };
  if (kvLengths) inputs["mask"] = { type: "int32", data: Int32Array.from(kvLengths), dims: [batch] };
  else if (problem.keepKeys) {
    inputs["mask"] = { type: "int32", data: Int32Array.from(problem.keepKeys), dims: [batch, seqLenKv] };
  }
  if (window !== undefined) inputs["bias"] = addedTo(problem);
  const attributes: Node["attributes"] = { num_heads: new Int(numHeads), scale: 1 / Math.sqrt(headDim) };
  if (causal) attributes["unidirectional"] = new Int(1);
  return {
    name: "MultiHeadAttention",
    inputs,
    nodes: [
      {
        op: "MultiHeadAttention",
        domain: "com.microsoft",
        inputs: ["q", "k", "v", "", inputs["mask"] ? "mask" : "", inputs["bias"] ? "bias" : ""],
        outputs: ["out"],
        attributes,
      },
    ],
    toRows: (out) => out,
  };
}

/** ONNX Attention-23 on [batch, heads, rows, dim]. */
function attention23(problem: Problem): Form {
  const { batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim, causal, window } = problem.shape;
  const { q, k, v } = byHeads(problem);
  const inputs: Form["inputs"] = {
    q: floats(q, [batch, numHeads, seqLenQ, headDim]),
    k: floats(k, [batch, numKvHeads, seqLenKv, headDim]),
    v: floats(v, [batch, numKvHeads, seqLenKv, headDim]),
  };
  if (problem.keepKeys) {
    inputs["mask"] = expandRows({ type: "bool", data: problem.keepKeys, dims: [batch, 1, 1, seqLenKv] }, seqLenQ);
  } else if (window !== undefined) inputs["mask"] = addedTo(problem);
  const attributes: Node["attributes"] = { scale: 1 / Math.sqrt(headDim) };
  if (causal) attributes["is_causal"] = new Int(1);
  return {
    name: "Attention-23",
    inputs,
    nodes: [{ op: "Attention", inputs: ["q", "k", "v", inputs["mask"] ? "mask" : ""], outputs: ["out"], attributes }],
    toRows: (out) => fromHeads(out, problem),
  };
}

/** com.microsoft.GroupQueryAttention, which is always causal. */
function groupQueryAttention(problem: Problem): Form {
  const { batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  return {
    name: "GroupQueryAttention",
    inputs: {
      q: floats(problem.q, [batch, seqLenQ, numHeads * headDim]),
      k: floats(problem.k, [batch, seqLenKv, numKvHeads * headDim]),
      v: floats(problem.v, [batch, seqLenKv, numKvHeads * headDim]),
      lastKey: { type: "int32", data: new Int32Array(batch).fill(seqLenKv - 1), dims: [batch] },
      total: { type: "int32", data: Int32Array.of(seqLenKv), dims: [1] },
    },
    nodes: [
      {
        op: "GroupQueryAttention",
        domain: "com.microsoft",
        inputs: ["q", "k", "v", "", "", "lastKey", "total"],
        outputs: ["out", "presentK", "presentV"],
        attributes: {
          num_heads: new Int(numHeads),
          kv_num_heads: new Int(numKvHeads),
          scale: 1 / Math.sqrt(headDim),
        },
      },
    ],
    toRows: (out) => out,
  };
}

/** MatMul + Softmax + MatMul, K transposed and Q scaled before; the query heads of a KV head are rows of one matrix. */
function matMuls(problem: Problem): Form {
  const { batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim, causal } = problem.shape;
  const { q, k, v } = byHeads(problem);
  const inputs: Form["inputs"] = {
    q: floats(scaled(q, headDim), [batch, numKvHeads, (numHeads / numKvHeads) * seqLenQ, headDim]),
    k: floats(transpose(k, seqLenKv, headDim), [batch, numKvHeads, headDim, seqLenKv]),
    v: floats(v, [batch, numKvHeads, seqLenKv, headDim]),
  };
  if (causal || problem.keepKeys) inputs["bias"] = addedTo(problem);
  return {
    name: "MatMul+Softmax+MatMul",
    inputs,
    nodes: softmaxBetweenMatMuls("bias" in inputs),
    toRows: (out) => fromHeads(out, problem),
  };
}

/** The same on blocks of `window` queries against the 3·window keys around them; no score farther off is computed. */
function bandedMatMuls(problem: Problem): Form {
  const { batch, numHeads, seqLenQ, headDim, window = 0 } = problem.shape;
  const blocks = seqLenQ / window;
  const { q, k, v } = byHeads(problem);
  const dims = [batch, numHeads, blocks];
  const bias = new Float32Array(blocks * window * 3 * window);
  bias.forEach((_, at) => {
    const i = Math.floor(at / (3 * window));
    const j = (Math.floor(i / window) - 1) * window + (at % (3 * window));
    bias[at] = j >= 0 && j < seqLenQ && sees(problem, 0, i, j) ? 0 : MASKED;
  });
  return {
    name: "banded MatMul+Softmax+MatMul",
    inputs: {
      q: floats(scaled(q, headDim), [...dims, window, headDim]),
      k: floats(transpose(banded(k, problem), 3 * window, headDim), [...dims, headDim, 3 * window]),
      v: floats(banded(v, problem), [...dims, 3 * window, headDim]),
      bias: floats(bias, [1, 1, blocks, window, 3 * window]),
    },
    nodes: softmaxBetweenMatMuls(true),
    toRows: (out) => fromHeads(out, problem),
  };
}

/** K or V as [batch, heads, blocks, 3·window, dim]: each block of rows with its two neighbours, zeros at the ends. */
function banded(kv: Floats, { shape }: Problem): Floats {
  const { seqLenKv, headDim, window = 0 } = shape;
  const block = window * headDim;
  const blocks = seqLenKv / window;
  const bands = new Float32Array(kv.length * 3);
  for (let n = 0; n < kv.length / block; n++) {
    for (const neighbour of [-1, 0, 1]) {
      const inHead = (n % blocks) + neighbour;
      if (inHead < 0 || inHead >= blocks) continue;
      const from = (n + neighbour) * block;
      bands.set(kv.subarray(from, from + block), (n * 3 + neighbour + 1) * block);
    }
  }
  return bands;
}

function softmaxBetweenMatMuls(biased: boolean): Node[] {
  const add: Node = { op: "Add", inputs: ["s", "bias"], outputs: ["biased"] };
  return [
    { op: "MatMul", inputs: ["q", "k"], outputs: ["s"] },
    ...(biased ? [add] : []),
    { op: "Softmax", inputs: [biased ? "biased" : "s"], outputs: ["p"] },
    { op: "MatMul", inputs: ["p", "v"], outputs: ["out"] },
  ];
}

/** A mask [batch, 1, 1, keys] as [batch, 1, rows, keys], for operators that do not broadcast rows. */
function expandRows(mask: Extract<Input, { type: "bool" }>, rows: number): Input {
  const [batch, , , keys] = mask.dims as [number, number, number, number];
  const data = new Uint8Array(batch * rows * keys);
  for (let row = 0; row < batch * rows; row++) {
    const from = Math.floor(row / rows) * keys;
    data.set(mask.data.subarray(from, from + keys), row * keys);
  }
  return { type: "bool", data, dims: [batch, 1, rows, keys] };
}

function addedTo(problem: Problem): Input {
  const { data, dims } = biasOf(problem);
  return floats(data, dims);
}
