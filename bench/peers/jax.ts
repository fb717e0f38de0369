import { type Array as JaxArray, defaultDevice, init, jit, nn, numpy as np } from "@jax-js/jax";
import type { Contender } from "../harness/entrant.ts";
import type { Problem } from "../harness/problem.ts";
import type { Floats } from "../harness/random.ts";
import { biasOf, byHeads, expandHeads, fromHeads, isMasked, scaled, transpose } from "./layout.ts";
import type { Peer } from "./peer.ts";

export async function loadJax(): Promise<Peer> {
  if (!(await init("wasm")).includes("wasm")) throw new Error("the wasm backend does not start");
  defaultDevice("wasm");
  return {
    name: "jax-js wasm",
    version: "0.1.25",
    prepare: (problem) => [dotProductAttention(problem), matMuls(problem)],
  };
}

/** The library's own operator, compiled, on [batch, rows, heads, dim]. */
function dotProductAttention(problem: Problem): Contender {
  const { batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim, causal, window, kvLengths } = problem.shape;
  const kvShape = [batch, seqLenKv, numKvHeads, headDim];
  const arrays = [
    np.array(problem.q, { shape: [batch, seqLenQ, numHeads, headDim] }),
    np.array(problem.k, { shape: kvShape }),
    np.array(problem.v, { shape: kvShape }),
  ];
  const padded = kvLengths !== undefined;
  if (kvLengths) arrays.push(np.array(Int32Array.from(kvLengths)));
  else if (problem.keepKeys) {
    arrays.push(np.array(Int32Array.from(problem.keepKeys), { shape: [batch, 1, 1, seqLenKv] }).astype(np.bool));
  }
  const attend = jit((q: JaxArray, k: JaxArray, v: JaxArray, kept?: JaxArray) =>
    nn.dotProductAttention(q, k, v, {
      ...(causal && { isCausal: true }),
      ...(window !== undefined && { localWindowSize: window }),
      ...(kept && (padded ? { keyValueSeqLengths: kept } : { mask: kept })),
    }),
  );
  return contender("nn.dotProductAttention", attend as Compiled, arrays, (out) => out);
}

/** Two products around a softmax, on [batch, heads, rows, dim] with Q scaled and K transposed. */
function matMuls(problem: Problem): Contender {
  const { batch, numHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  const { q, k, v } = byHeads(problem);
  const arrays = [
    np.array(scaled(q, headDim), { shape: [batch, numHeads, seqLenQ, headDim] }),
    np.array(transpose(expandHeads(k, problem), seqLenKv, headDim), { shape: [batch, numHeads, headDim, seqLenKv] }),
    np.array(expandHeads(v, problem), { shape: [batch, numHeads, seqLenKv, headDim] }),
  ];
  if (isMasked(problem)) {
    const { data, dims } = biasOf(problem);
    arrays.push(np.array(data, { shape: dims }));
  }
  const attend = jit((q: JaxArray, k: JaxArray, v: JaxArray, bias?: JaxArray) => {
    const scores = np.matmul(q, k);
    return np.matmul(nn.softmax(bias ? scores.add(bias) : scores, -1), v);
  });
  return contender("matmul + softmax + matmul", attend as Compiled, arrays, (out) => fromHeads(out, problem));
}

type Compiled = ((...inputs: JaxArray[]) => JaxArray) & { dispose(): void };

function contender(form: string, attend: Compiled, arrays: JaxArray[], toRows: (out: Floats) => Floats): Contender {
  // A call consumes its arguments; `.ref` keeps them for the next one.
  const run = async (): Promise<Floats> => (await attend(...arrays.map((array) => array.ref)).data()) as Floats;
  return {
    name: "jax-js wasm",
    form,
    kind: "wasm",
    run,
    result: async () => toRows(await run()),
    dispose: () => {
      arrays.forEach((array) => array.dispose());
      attend.dispose();
    },
  };
}
