import { type Floats, mulberry32, uniform } from "./random.ts";

/** One attention problem of the benchmark; the lengths read batch × heads[/KV heads] × queries × keys × headDim. */
export interface Shape {
  name: string;
  batch: number;
  numHeads: number;
  numKvHeads: number;
  seqLenQ: number;
  seqLenKv: number;
  headDim: number;
  /** Query i sees key j iff j ≤ i (the causal shapes have as many queries as keys). */
  causal?: true;
  /** Keys seen to each side of the query's own position (the window shapes have as many queries as keys). */
  window?: number;
  /** Padding at the end: valid keys of each batch entry. */
  kvLengths?: readonly number[];
  /** Padding anywhere: about one key in four is masked by a [batch, 1, 1, seqLenKv] mask. */
  keyMask?: true;
  /** Part of `--quick`. */
  quick?: true;
}

type Extra = Pick<Shape, "causal" | "window" | "kvLengths" | "keyMask" | "quick">;

/** `shape("1×32/8×512×512×128")` is one batch entry, 32 heads over 8 KV heads, 512 queries, 512 keys, headDim 128. */
export function shape(dims: string, extra: Extra = {}): Shape {
  const [batch, heads, seqLenQ, seqLenKv, headDim] = dims.split("×") as [string, string, string, string, string];
  const [numHeads, numKvHeads = numHeads] = heads.split("/") as [string, string?];
  const notes = [
    extra.causal && "causal",
    extra.window !== undefined && `window ${extra.window}`,
    extra.kvLengths && "padded",
    extra.keyMask && "key mask",
  ].filter((note) => typeof note === "string");
  return {
    name: [dims, ...notes].join(" "),
    batch: Number(batch),
    numHeads: Number(numHeads),
    numKvHeads: Number(numKvHeads),
    seqLenQ: Number(seqLenQ),
    seqLenKv: Number(seqLenKv),
    headDim: Number(headDim),
    ...extra,
  };
}

/** A shape with its inputs: q, k, v as [batch, seqLen, heads, headDim]. */
export interface Problem {
  shape: Shape;
  q: Floats;
  k: Floats;
  v: Floats;
  /** [batch, seqLenKv], non-zero = attend; only where the shape has padding of either kind. */
  keepKeys: Uint8Array | undefined;
}

/** The same seeded inputs at every run, uniform with unit variance. */
export function makeProblem(shape: Shape, seed = 1): Problem {
  const random = mulberry32(seed);
  const { batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim } = shape;
  return {
    shape,
    q: uniform(batch * seqLenQ * numHeads * headDim, random),
    k: uniform(batch * seqLenKv * numKvHeads * headDim, random),
    v: uniform(batch * seqLenKv * numKvHeads * headDim, random),
    keepKeys: keptKeys(shape, random),
  };
}

function keptKeys({ batch, seqLenKv, kvLengths, keyMask }: Shape, random: () => number): Uint8Array | undefined {
  if (!kvLengths && !keyMask) return undefined;
  return Uint8Array.from({ length: batch * seqLenKv }, (_, i) => {
    const b = Math.floor(i / seqLenKv);
    const valid = !kvLengths || i - b * seqLenKv < kvLengths[b]!;
    return Number(valid && (!keyMask || random() < 0.75));
  });
}

/** Whether query i of batch entry b sees key j. */
export function sees({ shape, keepKeys }: Problem, b: number, i: number, j: number): boolean {
  if (shape.causal && j > i) return false;
  if (shape.window !== undefined && Math.abs(i - j) > shape.window) return false;
  return !keepKeys || keepKeys[b * shape.seqLenKv + j] !== 0;
}

/** Multiplications and additions that the result needs: 4·headDim for each query and key that it sees, in each head. */
export function flops(problem: Problem): number {
  const { batch, numHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  let pairs = 0;
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < seqLenQ; i++) for (let j = 0; j < seqLenKv; j++) pairs += Number(sees(problem, b, i, j));
  }
  return 4 * headDim * numHeads * pairs;
}
