import type { TransformerKernels } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Rows } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { type ActivateOptions, type BlockResult, activate } from "./activate.ts";
import { type EmbedOptions, embed } from "./embed.ts";
import {
  type L2Options,
  type LayerNormOptions,
  type NormResult,
  type RmsNormOptions,
  l2Normalize,
  layerNorm,
  rmsNorm,
} from "./norm.ts";
import { type PoolOptions, pool } from "./pool.ts";
import { type SampleOptions, type SampleResult, sample } from "./sample.ts";
import type { Site } from "./site.ts";
import { type ScaleLogitsOptions, type SoftmaxOptions, scaleLogits, softmax } from "./softmax.ts";

/**
 * What a transformer block has beside attention and linear layers, on the memory of an instance of heed. Made by
 * {@link loadBlocks}. Each call takes Float32Arrays or Tensors of that instance; 16 bits are refused by name. A row has
 * the same bits whatever rows are beside it, in arrays as in Tensors, and in the simd build on every machine. A NaN or
 * Infinity gives what IEEE arithmetic gives, in its own row.
 *
 * Every call throws as `attention` does: TypeError for an argument of the wrong kind, RangeError for a wrong size or
 * value or where memory cannot grow, ReferenceError for a disposed Tensor or instance. Then nothing has been written.
 *
 * @example
 * import { load } from "heed";
 * import { loadBlocks } from "heed/transformer";
 *
 * const heed = await load();
 * const blocks = await loadBlocks(heed);
 * const dim = 4;
 * const x = Float32Array.of(1, 2, 3, 4, 0, 2, 0, 2); // two rows of four
 * @category Transformer blocks
 */
export class Blocks {
  readonly #site: Site;

  /** @internal Made by `loadBlocks`. */
  constructor(instance: Instance, kernels: TransformerKernels) {
    this.#site = { instance, kernels };
  }

  /**
   * RMSNorm (https://arxiv.org/abs/1910.07467): out = s / √(mean of s² + eps) · weight, with s = x + residual. Sums are
   * f64, so no square overflows.
   *
   * @param x [rows, dim]
   * @returns `out` [rows, dim], and on request `sum`, which is s: the residual stream of a block that has its norms first
   * @example
   * const weight = Float32Array.of(1, 1, 1, 2);
   * const { out, sum } = blocks.rmsNorm(x, { weight, residual: x, sum: true, eps: 1e-6 });
   * console.log(out[0].toFixed(5), out[3].toFixed(5), sum[3]); // → 0.36515 2.92119 8
   */
  rmsNorm<const Out extends Rows | undefined = undefined, const Sum extends boolean | Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: RmsNormOptions<Out, Sum>,
  ): NoInfer<NormResult<Out, Sum>> {
    return rmsNorm(this.#site, x, options) as NoInfer<NormResult<Out, Sum>>;
  }

  /**
   * LayerNorm (https://arxiv.org/abs/1607.06450): out = (s − mean) / √(variance + eps) · weight + bias, with s = x +
   * residual. Sums are f64.
   *
   * @param x [rows, dim]
   * @returns `out` [rows, dim], and on request `sum`, which is s
   * @example
   * const { out } = blocks.layerNorm(x, { dim, eps: 1e-12 });
   * console.log(out.subarray(4)); // → Float32Array(4) [ -1, 1, -1, 1 ]
   */
  layerNorm<const Out extends Rows | undefined = undefined, const Sum extends boolean | Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: LayerNormOptions<Out, Sum>,
  ): NoInfer<NormResult<Out, Sum>> {
    return layerNorm(this.#site, x, options) as NoInfer<NormResult<Out, Sum>>;
  }

  /**
   * Rows of length 1, as embeddings are compared: out = x / max(√Σx², eps).
   *
   * @param x [rows, dim]
   * @returns `out` [rows, dim]; a row of zeros stays one
   * @example
   * const { out } = blocks.l2Normalize(Float32Array.of(3, 4, 0, 2), { dim: 2 });
   * console.log(out.map((value) => Math.round(value * 10))); // → Float32Array(4) [ 6, 8, 0, 10 ]
   */
  l2Normalize<const Out extends Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: L2Options<Out>,
  ): NoInfer<BlockResult<Out>> {
    return l2Normalize(this.#site, x, options) as NoInfer<BlockResult<Out>>;
  }

  /**
   * An activation, or a gate: out = act(x) · up. `heed.linear` applies the same ones to its products, which saves a pass
   * through memory; the bits are the same.
   *
   * @param x any length; a gate without `up` takes [rows, 2 · dim], in which act goes over the first half of each row
   * @returns `out` of the length of x, or [rows, dim]
   * @example
   * console.log(blocks.activate(x, { activation: "relu" }).out[1]); // → 2
   * const { out } = blocks.activate(x, { activation: "swiglu", dim: 2 }); // silu(1) · 3, silu(2) · 4, …
   * console.log(out.length, out[0].toFixed(5)); // → 4 2.19318
   */
  activate<const Out extends Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: ActivateOptions<Out>,
  ): NoInfer<BlockResult<Out>> {
    return activate(this.#site, x, options) as NoInfer<BlockResult<Out>>;
  }

  /**
   * Rows of a table by the numbers of tokens, with those of their positions and types added:
   * out = scale · table[token] + positionTable[position] + typeTable[type].
   *
   * @param tokens [tokens], each less than the rows of `table`
   * @returns `out` [tokens, dim]
   * @example
   * const table = Float32Array.of(0, 0, 1, 1, 2, 2); // three tokens of two floats
   * const positionTable = Float32Array.of(0.5, 0, 0, 0.5);
   * const { out } = blocks.embed(Int32Array.of(2, 1), { table, dim: 2, positionTable });
   * console.log(out); // → Float32Array(4) [ 2.5, 2, 1, 1.5 ]
   */
  embed<const Out extends Rows | undefined = undefined>(
    tokens: Int32Array,
    options: EmbedOptions<Out>,
  ): NoInfer<BlockResult<Out>> {
    return embed(this.#site, tokens, options) as NoInfer<BlockResult<Out>>;
  }

  /**
   * One row for each sequence, out of those of its rows that are kept: their mean, the first or the last of them. What is
   * not kept is not read, so that a NaN in padding cannot leak. Sums are f64.
   *
   * @param x [batch, seqLen, dim], or packed sequences, [rows, dim] with `cuSeqlens`
   * @returns `out` [sequences, dim]; 0 for a sequence of which nothing is kept
   * @example
   * const { out } = blocks.pool(x, { dim });
   * console.log(out); // → Float32Array(4) [ 0.5, 2, 1.5, 3 ]
   * const last = blocks.pool(x, { dim: 2, pooling: "last", batch: 2, lengths: Int32Array.of(1, 2) });
   * console.log(last.out); // → Float32Array(4) [ 1, 2, 0, 2 ]
   */
  pool<const Out extends Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: PoolOptions<Out>,
  ): NoInfer<BlockResult<Out>> {
    return pool(this.#site, x, options) as NoInfer<BlockResult<Out>>;
  }

  /**
   * out = softmax(x · scale) of each row. −Infinity has a probability of exactly 0; a row of −Infinity alone is NaN.
   *
   * @param x [rows, dim]
   * @returns `out` [rows, dim]
   * @example
   * const { out } = blocks.softmax(Float32Array.of(5, 5, -Infinity, 5, 5, -Infinity), { dim: 3 });
   * console.log(out); // → Float32Array(6) [ 0.5, 0.5, 0, 0.5, 0.5, 0 ]
   */
  softmax<const Out extends Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: SoftmaxOptions<Out>,
  ): NoInfer<BlockResult<Out>> {
    return softmax(this.#site, x, options) as NoInfer<BlockResult<Out>>;
  }

  /**
   * Logits as models scale and cap them: out = x · scale, or softcap · tanh(x · scale / softcap).
   *
   * @param x any length
   * @returns `out` of the length of x
   * @example
   * const { out } = blocks.scaleLogits(Float32Array.of(1, 1000), { scale: 0.5, softcap: 30 });
   * console.log(out[0].toFixed(5), out[1]); // → 0.49995 30
   */
  scaleLogits<const Out extends Rows | undefined = undefined>(
    x: Float32Array | Tensor,
    options: ScaleLogitsOptions<Out> = {},
  ): NoInfer<BlockResult<Out>> {
    return scaleLogits(this.#site, x, options) as NoInfer<BlockResult<Out>>;
  }

  /**
   * A token for each row of logits, drawn by their softmax: first `temperature`, then `topK`, then `topP`, as Hugging
   * Face orders them. The same seed and step draw the same token, in the simd build on every machine.
   *
   * @param logits [rows, vocabSize], without NaN and Infinity; −Infinity is never drawn
   * @returns `tokens` [rows]
   * @example
   * const logits = Float32Array.of(1, 3, 2, 0);
   * const { tokens } = blocks.sample(logits, { vocabSize: 4, temperature: 0 });
   * const drawn = blocks.sample(logits, { vocabSize: 4, temperature: 0.8, topK: 2, topP: 0.9, seed: 7, step: 12 });
   * console.log(tokens[0], drawn.tokens[0]); // → 1 1
   */
  sample<const Tokens extends Int32Array | undefined = undefined>(
    logits: Float32Array | Tensor,
    options: SampleOptions<Tokens>,
  ): NoInfer<SampleResult<Tokens>> {
    return sample(this.#site, logits, options) as NoInfer<SampleResult<Tokens>>;
  }
}
