import type { Heed, Tensor } from "heed";
import type { Config } from "./checkpoint.ts";

/** What a layer computes for `rows` tokens, in linear memory: every kernel reads what the one before it wrote. */
export class Activations {
  readonly rows: number;
  /** [rows, dim]: the input of a block, normalised. */
  readonly normed: Tensor;
  /** [rows, numHeads, headDim] */
  readonly q: Tensor;
  /** [rows, numKvHeads, headDim] */
  readonly k: Tensor;
  readonly v: Tensor;
  /** [rows, numHeads, headDim]: what attention found. */
  readonly heads: Tensor;
  /** [rows, hiddenDim] */
  readonly gate: Tensor;
  readonly up: Tensor;
  /** [rows, dim]: the output of a block, to be added to its input. */
  readonly update: Tensor;

  constructor(heed: Heed, { dim, hiddenDim, numHeads, numKvHeads, headDim }: Config, rows: number) {
    this.rows = rows;
    this.normed = heed.tensor(rows * dim);
    this.q = heed.tensor(rows * numHeads * headDim);
    this.k = heed.tensor(rows * numKvHeads * headDim);
    this.v = heed.tensor(rows * numKvHeads * headDim);
    this.heads = heed.tensor(rows * numHeads * headDim);
    this.gate = heed.tensor(rows * hiddenDim);
    this.up = heed.tensor(rows * hiddenDim);
    this.update = heed.tensor(rows * dim);
  }

  dispose(): void {
    const { normed, q, k, v, heads, gate, up, update } = this;
    for (const tensor of [normed, q, k, v, heads, gate, up, update]) tensor.dispose();
  }
}
