import { type AttentionOptions, type Heed, load } from "heed";
import type { Problem } from "../cases/shapes.ts";
import type { Contender, Peer } from "./peer.ts";

/** heed, with ordinary arrays copied in and out, and with everything resident in linear memory. */
export async function loadHeed(variant: "simd" | "relaxed"): Promise<Peer> {
  const heed = await load({ variant });
  const name = `heed ${variant}`;
  return {
    name,
    version: "this build",
    prepare: (problem) => [copied(heed, name, problem), resident(heed, name, problem)],
  };
}

function copied(heed: Heed, name: string, problem: Problem): Contender {
  const { q, k, v } = problem;
  const options = optionsOf(problem);
  return {
    name: `${name}, copied`,
    form: "",
    kind: "heed",
    run: () => heed.attention(q, k, v, options),
    result: () => heed.attention(q, k, v, options).out,
  };
}

function resident(heed: Heed, name: string, problem: Problem): Contender {
  const tensors = [problem.q, problem.k, problem.v, problem.q].map((values) => heed.tensor(values.length));
  const [q, k, v, out] = tensors as [Tensor, Tensor, Tensor, Tensor];
  q.data.set(problem.q);
  k.data.set(problem.k);
  v.data.set(problem.v);
  const options = { ...optionsOf(problem), out };
  return {
    name: `${name}, resident`,
    form: "",
    kind: "heed",
    run: () => heed.attention(q, k, v, options),
    result: () => {
      heed.attention(q, k, v, options);
      return out.data.slice();
    },
    dispose: () => tensors.forEach((tensor) => tensor.dispose()),
  };
}

type Tensor = ReturnType<Heed["tensor"]>;

function optionsOf({ shape, keepKeys }: Problem): Omit<AttentionOptions, "out" | "lse"> {
  const { batch, numHeads, numKvHeads, seqLenKv, headDim, causal, window, kvLengths, keyMask } = shape;
  const options: ReturnType<typeof optionsOf> = { batch, numHeads, numKvHeads, headDim };
  if (causal) options.causal = true;
  if (window !== undefined) options.window = { left: window, right: window };
  if (kvLengths) options.kvLengths = Int32Array.from(kvLengths);
  if (keyMask && keepKeys) options.keepMask = { data: keepKeys, shape: [batch, 1, 1, seqLenKv] };
  return options;
}
