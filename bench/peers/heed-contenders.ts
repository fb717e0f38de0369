// heed, in each way that the tables call it. The instance is an argument, so that two builds can run beside each other.
import type { AttentionOptions, Dtype, Heed, Tensor } from "heed";
import type { Contender } from "../harness/entrant.ts";
import type { LayerProblem, LinearProblem } from "../harness/layer-problems.ts";
import type { Problem } from "../harness/problem.ts";

/** Attention with arrays that are copied in and out, and with everything resident in linear memory. */
export function attentionContenders(heed: Heed, problem: Problem): Contender[] {
  const { q, k, v } = problem;
  const options = attentionOptions(problem);
  const [qIn, kIn, vIn, out] = [q, k, v, q].map((values) => residentCopy(heed, values)) as Tensors;
  return [
    {
      name: `heed ${heed.variant}, copied`,
      form: "",
      kind: "heed",
      run: () => heed.attention(q, k, v, options),
      result: () => heed.attention(q, k, v, options).out,
    },
    {
      name: `heed ${heed.variant}, resident`,
      form: "",
      kind: "heed",
      run: () => heed.attention(qIn, kIn, vIn, { ...options, out }),
      result: () => heed.attention(qIn, kIn, vIn, { ...options, out }).out.data.slice(),
      dispose: () => [qIn, kIn, vIn, out].forEach((tensor) => tensor.dispose()),
    },
  ];
}

type Tensors = [q: Tensor, k: Tensor, v: Tensor, out: Tensor];

function residentCopy(heed: Heed, values: Float32Array): Tensor {
  const tensor = heed.tensor(values.length);
  tensor.data.set(values);
  return tensor;
}

function attentionOptions({ shape, keepKeys }: Problem): Omit<AttentionOptions, "out" | "lse"> {
  const { batch, numHeads, numKvHeads, seqLenKv, headDim, causal, window, kvLengths, keyMask } = shape;
  const options: ReturnType<typeof attentionOptions> = { batch, numHeads, numKvHeads, headDim };
  if (causal) options.causal = true;
  if (window !== undefined) options.window = { left: window, right: window };
  if (kvLengths) options.kvLengths = Int32Array.from(kvLengths);
  if (keyMask && keepKeys) options.keepMask = { data: keepKeys, shape: [batch, 1, 1, seqLenKv] };
  return options;
}

/** One query against K and V in a cache: q is copied in and out copied back. */
export function decodeContender(heed: Heed, problem: Problem, dtype: Dtype): Contender & { cacheBytes: number } {
  const { numHeads, numKvHeads, headDim, seqLenKv } = problem.shape;
  const cache = heed.createKvCache({ numKvHeads, headDim, capacity: seqLenKv, dtype });
  cache.append(problem.k, problem.v);
  const out = new Float32Array(problem.q.length);
  const options = { numHeads, causal: true, out };
  return {
    name: `heed ${dtype}`,
    form: `KvCache, ${heed.variant}`,
    kind: "heed",
    run: () => cache.attention(problem.q, options),
    result: () => cache.attention(problem.q, { numHeads, causal: true }).out,
    dispose: () => cache.dispose(),
    cacheBytes: cache.bytes,
  };
}

/** out = x·Wᵀ + bias with a packed weight, copied in and out, and resident. */
export function linearContenders(heed: Heed, problem: LinearProblem): Contender[] {
  const { rows, inFeatures, outFeatures, x, weight, bias } = problem;
  const packed = heed.packLinear({ data: weight, shape: [outFeatures, inFeatures] }, bias);
  const out = new Float32Array(rows * outFeatures);
  const [xIn, to] = [residentCopy(heed, x), heed.tensor(out.length)];
  return [
    {
      name: `heed ${heed.variant}`,
      form: "copied in and out",
      kind: "heed",
      run: () => heed.linear(x, packed, undefined, { out }),
      result: () => heed.linear(x, packed).out,
    },
    {
      name: `heed ${heed.variant}, resident`,
      form: "",
      kind: "heed",
      run: () => heed.linear(xIn, packed, undefined, { out: to }),
      result: () => heed.linear(xIn, packed, undefined, { out: to }).out.data.slice(),
      dispose: () => [packed, xIn, to].forEach((own) => own.dispose()),
    },
  ];
}

/** The whole multi-head layer, copied in and out. */
export function layerContender(heed: Heed, { width, numHeads, x, weights, bias }: LayerProblem): Contender {
  const [q, k, v, out] = weights.map((data, n) => ({
    weight: { data, shape: [width, width] },
    bias: bias.subarray(n * width, (n + 1) * width),
  })) as [Projection, Projection, Projection, Projection];
  const layer = heed.createMultiHeadAttention({ numHeads, weights: { q, k, v, out } });
  const to = new Float32Array(x.length);
  return {
    name: `heed ${heed.variant}`,
    form: "copied in and out",
    kind: "heed",
    run: () => layer.forward(x, { out: to }),
    result: () => layer.forward(x).out,
    dispose: () => layer.dispose(),
  };
}

interface Projection {
  weight: { data: Float32Array; shape: number[] };
  bias: Float32Array;
}

/** Attention weights of one row of every head from a cache of f32, and the decode step over the same cache. */
export function weightsContenders(
  heed: Heed,
  problem: Problem,
  selection: { reduce?: "mean"; topK?: number },
): [weights: Contender, decode: Contender] {
  const { numHeads, numKvHeads, headDim, seqLenKv } = problem.shape;
  const cache = heed.createKvCache({ numKvHeads, headDim, capacity: seqLenKv });
  cache.append(problem.k, problem.v);
  const weigh = () => cache.attentionWeights(problem.q, { numHeads, ...selection });
  return [
    { name: "weights", form: "", kind: "heed", run: weigh, result: () => weigh().weights },
    {
      name: "decode",
      form: "",
      kind: "heed",
      run: () => cache.attention(problem.q, { numHeads }),
      result: () => cache.attention(problem.q, { numHeads }).out,
      dispose: () => cache.dispose(),
    },
  ];
}
