// The checkpoint format of llama2.c, version 0 (https://github.com/karpathy/llama2.c, legacy_export in export.py):
// seven i32, then every weight as f32, layer by layer within each kind. A matrix is [outputs, inputs].

import { InputError } from "./input.ts";

export interface Config {
  dim: number;
  hiddenDim: number;
  numLayers: number;
  numHeads: number;
  numKvHeads: number;
  vocabSize: number;
  /** Positions that the model was trained on. */
  seqLen: number;
  headDim: number;
}

export interface Layer {
  attentionNorm: Float32Array;
  wq: Float32Array;
  wk: Float32Array;
  wv: Float32Array;
  wo: Float32Array;
  ffnNorm: Float32Array;
  w1: Float32Array;
  w2: Float32Array;
  w3: Float32Array;
}

export interface Checkpoint {
  config: Config;
  /** [vocabSize, dim] */
  embeddings: Float32Array;
  layers: Layer[];
  norm: Float32Array;
  /** [vocabSize, dim]; the embeddings themselves where they are shared. */
  classifier: Float32Array;
}

const HEADER_BYTES = 28;
/** "ak42", how versions 1 and 2 begin. */
const LATER_MAGIC = 0x616b3432;

/** @throws InputError for what is no checkpoint of version 0 */
export function parseCheckpoint(bytes: Uint8Array, path: string): Checkpoint {
  const { config, shared } = parseHeader(bytes, path);
  const { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen, headDim } = config;
  const sizes = {
    embeddings: vocabSize * dim,
    attentionNorm: dim,
    wq: numHeads * headDim * dim,
    wk: numKvHeads * headDim * dim,
    wv: numKvHeads * headDim * dim,
    wo: dim * numHeads * headDim,
    ffnNorm: dim,
    w1: hiddenDim * dim,
    w2: dim * hiddenDim,
    w3: hiddenDim * dim,
    norm: dim,
    angles: seqLen * headDim,
    classifier: shared ? 0 : vocabSize * dim,
  };
  const { embeddings, norm, angles, classifier, ...ofLayer } = sizes;
  const perLayer = Object.values(ofLayer).reduce((sum, size) => sum + size, 0);
  const expected = HEADER_BYTES + 4 * (embeddings + numLayers * perLayer + norm + angles + classifier);
  if (bytes.length !== expected) {
    throw new InputError(
      `${path} is no llama2.c checkpoint: its header asks for ${expected} bytes, it has ${bytes.length}`,
    );
  }

  // A copy, so that the floats are aligned.
  const floats = new Float32Array(new Uint8Array(bytes.subarray(HEADER_BYTES)).buffer);
  let at = 0;
  const take = (size: number) => floats.subarray(at, (at += size));
  const takeLayers = (size: number) => Array.from({ length: numLayers }, () => take(size));
  const table = take(embeddings);
  const kinds = Object.entries(ofLayer).map(([kind, size]) => [kind, takeLayers(size)] as const);
  const layers = Array.from({ length: numLayers }, (_, i) =>
    Object.fromEntries(kinds.map(([kind, parts]) => [kind, parts[i]!])),
  ) as unknown as Layer[];
  const lastNorm = take(norm);
  // Cosines and sines of the rotary embedding: heed computes its own.
  take(angles);
  return { config, embeddings: table, layers, norm: lastNorm, classifier: shared ? table : take(classifier) };
}

function parseHeader(bytes: Uint8Array, path: string): { config: Config; shared: boolean } {
  const wrong = (why: string) => new InputError(`${path} is no llama2.c checkpoint: ${why}`);
  if (bytes.length < HEADER_BYTES) throw wrong(`it has only ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(0, true) === LATER_MAGIC) throw wrong("it is of a later version, and only version 0 is read");
  const [dim, hiddenDim, numLayers, numHeads, numKvHeads, signedVocabSize, seqLen] = Array.from({ length: 7 }, (_, i) =>
    view.getInt32(i * 4, true),
  ) as [number, number, number, number, number, number, number];
  // A negative vocabulary says that the classifier has weights of its own.
  const vocabSize = Math.abs(signedVocabSize);
  const sizes = { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen };
  for (const [name, size] of Object.entries(sizes)) {
    if (size < 1 || size > 2 ** 24) throw wrong(`${name} is ${size}`);
  }
  if (dim % numHeads !== 0) throw wrong(`dim ${dim} is not divisible by ${numHeads} heads`);
  if (numHeads % numKvHeads !== 0) throw wrong(`${numHeads} heads are not divisible by ${numKvHeads} KV heads`);
  const headDim = dim / numHeads;
  if (headDim % 2 !== 0) throw wrong(`rows of ${headDim} floats have no pairs to rotate`);
  return { config: { ...sizes, headDim }, shared: signedVocabSize > 0 };
}
