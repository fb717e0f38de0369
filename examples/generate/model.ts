// A checkpoint as the forward pass reads it: its matrices packed in heed's linear memory, once for all texts.
import type { Heed, PackedLinear, WeightDtype } from "heed";
import type { Checkpoint, Config, Layer } from "./checkpoint.ts";

const MATRICES = ["wq", "wk", "wv", "wo", "w1", "w2", "w3"] as const;

/** The weights of one layer: the norms as they are in the checkpoint, the matrices packed. */
export type PackedLayer = Pick<Layer, "attentionNorm" | "ffnNorm"> & Record<(typeof MATRICES)[number], PackedLinear>;

export class Model {
  readonly heed: Heed;
  readonly config: Config;
  /** [vocabSize, dim] */
  readonly embeddings: Float32Array;
  readonly layers: readonly PackedLayer[];
  readonly norm: Float32Array;
  readonly classifier: PackedLinear;
  /** All that is packed. */
  readonly #packed: PackedLinear[] = [];

  readonly #dtype: WeightDtype;

  /**
   * `dtype` is how the matrices are stored.
   *
   * @throws RangeError where linear memory cannot hold the weights
   */
  constructor(heed: Heed, { config, embeddings, layers, norm, classifier }: Checkpoint, dtype: WeightDtype = "f32") {
    this.heed = heed;
    this.#dtype = dtype;
    this.config = config;
    this.embeddings = embeddings;
    this.norm = norm;
    const { dim, hiddenDim, numHeads, numKvHeads, headDim, vocabSize } = config;
    const outputs = {
      wq: numHeads * headDim,
      wk: numKvHeads * headDim,
      wv: numKvHeads * headDim,
      wo: dim,
      w1: hiddenDim,
      w2: dim,
      w3: hiddenDim,
    };
    try {
      this.layers = layers.map((layer) => {
        const matrices = MATRICES.map((name) => [name, this.#pack(layer[name], outputs[name])]);
        return { ...layer, ...(Object.fromEntries(matrices) as Record<(typeof MATRICES)[number], PackedLinear>) };
      });
      this.classifier = this.#pack(classifier, vocabSize);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** A matrix [outFeatures, inFeatures]. */
  #pack(matrix: Float32Array, outFeatures: number): PackedLinear {
    const packed = this.heed.packLinear(matrix, undefined, { outFeatures, dtype: this.#dtype });
    this.#packed.push(packed);
    return packed;
  }

  dispose(): void {
    for (const packed of this.#packed) packed.dispose();
  }
}
