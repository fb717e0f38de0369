import type { Tokenizer } from "../../examples/generate/tokenizer.ts";
import { floats, uniform } from "./random.ts";

const SIZES = { dim: 16, hiddenDim: 24, numLayers: 2, numHeads: 4, numKvHeads: 2, vocabSize: 12, seqLen: 10 };

/** A checkpoint of random weights. */
export function checkpointBytes({
  shared = true,
  ...changed
}: Partial<typeof SIZES> & { shared?: boolean } = {}): Uint8Array {
  const sizes = { ...SIZES, ...changed };
  const { dim, hiddenDim, numLayers, numHeads, numKvHeads, vocabSize, seqLen } = SIZES;
  const headDim = dim / numHeads;
  const perLayer = 2 * dim + 2 * dim * dim + 2 * numKvHeads * headDim * dim + 3 * dim * hiddenDim;
  const weights = vocabSize * dim * (shared ? 1 : 2) + numLayers * perLayer + dim + seqLen * headDim;
  const header = Int32Array.from(Object.values({ ...sizes, vocabSize: sizes.vocabSize * (shared ? 1 : -1) }));
  return Buffer.concat([new Uint8Array(header.buffer), new Uint8Array(floats(weights, uniform(1)).buffer)]);
}

/** A tokenizer of these pieces; the later ones score higher. */
export function tokenizerBytes(pieces: readonly string[]): Uint8Array {
  const entries = pieces.map((piece, id) => {
    const bytes = Buffer.from(piece);
    const entry = Buffer.alloc(8);
    entry.writeFloatLE(id, 0);
    entry.writeInt32LE(bytes.length, 4);
    return Buffer.concat([entry, bytes]);
  });
  return Buffer.concat([Buffer.alloc(4), ...entries]);
}

const singleBytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
/** Tokens that a tokenizer begins with, the single bytes, and a few pieces. */
export const PIECES = ["<unk>", "<s>", "</s>", ...singleBytes, " ", "a", "b", " a", "ab", "abb"];

/** The text of tokens, of which the first is BOS. */
export function textOf(tokenizer: Tokenizer, tokens: readonly number[]): string {
  return Buffer.concat(tokens.slice(1).map((token, i) => tokenizer.decode(token, tokens[i]!))).toString();
}
