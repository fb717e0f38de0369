// The tokenizer format of llama2.c (tokenizer.bin): i32 length of the longest piece, then for each token its score
// (f32), the length of its piece (i32) and the piece. The pieces are those of sentencepiece BPE, with spaces for its ▁.

import { InputError } from "./input.ts";

export const BOS = 1;
export const EOS = 2;

/** <unk>, <s> and </s> stand before the 256 single bytes. */
const FIRST_BYTE = 3;

export class Tokenizer {
  readonly #pieces: Uint8Array[] = [];
  readonly #scores: number[] = [];
  readonly #ids = new Map<string, number>();

  /** @throws InputError where `bytes` are not `vocabSize` pieces */
  constructor(bytes: Uint8Array, vocabSize: number, path: string) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const text = new TextDecoder();
    let at = 4;
    for (let id = 0; id < vocabSize; id++) {
      const length = at + 8 <= bytes.length ? view.getInt32(at + 4, true) : -1;
      if (length < 0 || at + 8 + length > bytes.length) {
        throw new InputError(`${path} is no tokenizer of ${vocabSize} tokens: it ends, or breaks, at token ${id}`);
      }
      const piece = bytes.subarray(at + 8, at + 8 + length);
      this.#scores.push(view.getFloat32(at, true));
      this.#pieces.push(singleByte(piece) ?? piece);
      if (!this.#ids.has(text.decode(piece))) this.#ids.set(text.decode(piece), id);
      at += 8 + length;
    }
    if (at !== bytes.length) {
      throw new InputError(`${path} is no tokenizer of ${vocabSize} tokens: ${bytes.length - at} bytes are left over`);
    }
  }

  /** BOS and the tokens of a text, which gets a space before it as in training. */
  encode(text: string): number[] {
    if (text === "") return [BOS];
    const tokens = Array.from(` ${text}`).flatMap((char) => {
      const id = this.#ids.get(char);
      return id === undefined ? Array.from(new TextEncoder().encode(char), (byte) => byte + FIRST_BYTE) : [id];
    });
    while (this.#mergeBest(tokens));
    return [BOS, ...tokens];
  }

  /**
   * Merges the two neighbours whose joint piece has the highest score. Returns false where no two neighbours make a
   * piece.
   */
  #mergeBest(tokens: number[]): boolean {
    const text = new TextDecoder();
    let best = -1;
    let bestId = -1;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const pair = text.decode(this.#pieces[tokens[i]!]) + text.decode(this.#pieces[tokens[i + 1]!]);
      const id = this.#ids.get(pair);
      if (id === undefined || (bestId >= 0 && this.#scores[id]! <= this.#scores[bestId]!)) continue;
      best = i;
      bestId = id;
    }
    if (best >= 0) tokens.splice(best, 2, bestId);
    return best >= 0;
  }

  /** The bytes of a token, without the leading space of the first one. One character may span several tokens. */
  decode(token: number, previous: number): Uint8Array {
    const piece = this.#pieces[token]!;
    return previous === BOS && piece[0] === 32 ? piece.subarray(1) : piece;
  }
}

/** The byte that a piece such as "<0x0A>" stands for. */
function singleByte(piece: Uint8Array): Uint8Array | undefined {
  const match = /^<0x([0-9A-F]{2})>$/.exec(new TextDecoder().decode(piece));
  return match ? Uint8Array.of(parseInt(match[1]!, 16)) : undefined;
}
