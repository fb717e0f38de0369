// A text as tokens, and tokens as something to show. Runs in Node and in browsers.
import ranks from "gpt-tokenizer/bpeRanks/o200k_base";
import { encode } from "gpt-tokenizer/encoding/o200k_base";

export interface Reading {
  /** Token numbers, in the order of the text. */
  tokens: number[];
  /** Where each token ends in the text, in UTF-16 units; one that ends inside a character stands before it. */
  ends: number[];
  /** How much of the text the tokens cover, in UTF-16 units. */
  covered: number;
}

/** UTF-16 units to tokenise for each token wanted; English has about 4.4. */
const UNITS_PER_TOKEN = 8;

/** The first `limit` tokens of a text. */
export function tokenise(text: string, limit: number): Reading {
  const start = text.slice(0, limit * UNITS_PER_TOKEN);
  // Text is text here: "<|endoftext|>" in it means its thirteen characters.
  const tokens = encode(start, { disallowedSpecial: new Set() });
  const kept = tokens.slice(0, limit);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let covered = 0;
  const ends = kept.map((token) => (covered += decoder.decode(tokenBytes(token), { stream: true }).length));
  return { tokens: kept, ends, covered };
}

/**
 * A token as something to print, one line, nothing in it that a terminal obeys: control and direction characters become
 * pictures, and a token that is no whole number of characters, part of an emoji say, becomes its bytes: ⟨f0⟩⟨9f⟩.
 */
export function tokenLabel(token: number): string {
  const raw = ranks[token];
  if (raw === undefined) return `⟨#${token}⟩`;
  const text =
    typeof raw === "string" ? raw : raw.map((byte) => (byte === 32 ? " " : `⟨${byte.toString(16)}⟩`)).join("");
  return text
    .replace(/\r?\n/g, "⏎")
    .replace(/\t/g, "⇥")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => {
      const code = char.codePointAt(0)!;
      return code < 32 ? String.fromCharCode(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase()}⟩`;
    });
}

function tokenBytes(token: number): Uint8Array {
  const raw = ranks[token];
  return typeof raw === "string" ? new TextEncoder().encode(raw) : Uint8Array.from(raw ?? []);
}
