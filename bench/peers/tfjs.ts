import { dirname } from "node:path";
import { createRequire } from "node:module";
import * as tf from "@tensorflow/tfjs-core";
import { setThreadsCount, setWasmPaths, version_wasm } from "@tensorflow/tfjs-backend-wasm";
import type { Contender } from "../harness/entrant.ts";
import type { Problem } from "../harness/problem.ts";
import type { Floats } from "../harness/random.ts";
import { biasOf, byHeads, expandHeads, fromHeads, isMasked, scaled, transpose } from "./layout.ts";
import type { Peer } from "./peer.ts";

export async function loadTfjs(): Promise<Peer> {
  const { resolve } = createRequire(import.meta.url);
  setWasmPaths(`${dirname(resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  setThreadsCount(1);
  if (!(await tf.setBackend("wasm"))) throw new Error("the wasm backend does not start");
  return { name: "tfjs-wasm", version: version_wasm, prepare: (problem) => [headByHead(problem), batched(problem)] };
}

/** A matMul for each head: only those of two dimensions reach XNNPACK. */
function headByHead(problem: Problem): Contender {
  const { batch, numHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  const { q, k, v } = inputsOf(problem);
  const bias = isMasked(problem) ? biasOf(problem) : undefined;
  const matrices = (data: Floats, rows: number, columns: number): tf.Tensor2D[] =>
    Array.from({ length: data.length / (rows * columns) }, (_, n) =>
      tf.tensor2d(data.subarray(n * rows * columns, (n + 1) * rows * columns), [rows, columns]),
    );
  const qs = matrices(q, seqLenQ, headDim);
  const ks = matrices(k, headDim, seqLenKv);
  const vs = matrices(v, seqLenKv, headDim);
  const biases = bias ? matrices(bias.data, bias.dims[2], seqLenKv) : [];
  const run = (): Float32Array[] =>
    qs.map((head, n) =>
      tf.tidy(() => {
        const scores = tf.matMul(head, ks[n]!);
        const masked = bias ? tf.add(scores, biases[Math.floor(n / numHeads) % bias.dims[0]]!) : scores;
        return tf.matMul(tf.softmax(masked), vs[n]!).dataSync<"float32">();
      }),
    );
  return {
    name: "tfjs-wasm",
    form: "matMul + softmax + matMul, head by head",
    kind: "wasm",
    run,
    result: () => {
      const out = new Float32Array(batch * numHeads * seqLenQ * headDim);
      run().forEach((head, n) => out.set(head, n * seqLenQ * headDim));
      return fromHeads(out, problem);
    },
    dispose: () => tf.dispose([qs, ks, vs, biases]),
  };
}

function batched(problem: Problem): Contender {
  const { batch, numHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  const inputs = inputsOf(problem);
  const q = tf.tensor4d(inputs.q, [batch, numHeads, seqLenQ, headDim]);
  const k = tf.tensor4d(inputs.k, [batch, numHeads, headDim, seqLenKv]);
  const v = tf.tensor4d(inputs.v, [batch, numHeads, seqLenKv, headDim]);
  const masked = isMasked(problem) ? biasOf(problem) : undefined;
  const bias = masked && tf.tensor4d(masked.data, masked.dims);
  const run = (): Float32Array =>
    tf.tidy(() => {
      const scores = tf.matMul(q, k);
      return tf.matMul(tf.softmax(bias ? tf.add(scores, bias) : scores), v).dataSync<"float32">();
    });
  return {
    name: "tfjs-wasm",
    form: "matMul + softmax + matMul, batched",
    kind: "wasm",
    run,
    result: () => fromHeads(run(), problem),
    dispose: () => tf.dispose([q, k, v, ...(bias ? [bias] : [])]),
  };
}

/** By heads, Q scaled, K transposed, every query head with K and V of its own. */
function inputsOf(problem: Problem): { q: Floats; k: Floats; v: Floats } {
  const { seqLenKv, headDim } = problem.shape;
  const { q, k, v } = byHeads(problem);
  return {
    q: scaled(q, headDim),
    k: transpose(expandHeads(k, problem), seqLenKv, headDim),
    v: expandHeads(v, problem),
  };
}
