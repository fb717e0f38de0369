import { describe, expect, it } from "vitest";
import { parseCheckpoint } from "../../examples/generate/checkpoint.ts";
import { InputError } from "../../examples/generate/input.ts";
import { Tokenizer } from "../../examples/generate/tokenizer.ts";
import { PIECES, checkpointBytes, textOf, tokenizerBytes } from "../support/checkpoints.ts";

const newTokenizer = () => new Tokenizer(tokenizerBytes(PIECES), PIECES.length, "tokenizer");

describe("the tokenizer", () => {
  it("merges the neighbours of the highest score first", () => {
    const tokens = newTokenizer().encode("abbab");
    expect(tokens.map((token) => PIECES[token])).toEqual(["<s>", " ", "abb", "ab"]);
  });

  it("gives back any text", () => {
    const tokenizer = newTokenizer();
    for (const text of ["", "a", "abba\n", "ü→😀", " a  b"]) {
      expect(textOf(tokenizer, tokenizer.encode(text))).toBe(text);
    }
  });

  it.each([
    ["too few", PIECES.slice(1), "it ends, or breaks, at token 264"],
    ["too many", [...PIECES, "x"], "9 bytes are left over"],
    ["no", [], "it ends, or breaks, at token 0"],
  ])("refuses %s pieces", (_, pieces, why) => {
    expect(() => new Tokenizer(tokenizerBytes(pieces), PIECES.length, "file")).toThrow(
      new InputError(`file is no tokenizer of 265 tokens: ${why}`),
    );
  });
});

describe("the checkpoint", () => {
  it.each([
    ["of a few bytes", new Uint8Array(9), "it has only 9 bytes"],
    ["of zeros", new Uint8Array(4000), "dim is 0"],
    [
      "of a later version",
      Buffer.from(`24ka${"\0".repeat(300)}`),
      "it is of a later version, and only version 0 is read",
    ],
    ["of heads that do not divide dim", checkpointBytes({ numHeads: 3 }), "dim 16 is not divisible by 3 heads"],
    [
      "of KV heads that do not divide heads",
      checkpointBytes({ numKvHeads: 3 }),
      "4 heads are not divisible by 3 KV heads",
    ],
    ["of odd rows", checkpointBytes({ numHeads: 16 }), "rows of 1 floats have no pairs to rotate"],
    ["cut short", checkpointBytes().subarray(0, -1), "its header asks for 16636 bytes, it has 16635"],
  ])("refuses a file %s", (_, bytes, why) => {
    expect(() => parseCheckpoint(bytes, "file")).toThrow(new InputError(`file is no llama2.c checkpoint: ${why}`));
  });

  it("has a classifier of its own, or the embeddings", () => {
    const shared = parseCheckpoint(checkpointBytes(), "");
    expect(shared.classifier).toBe(shared.embeddings);
    const own = parseCheckpoint(checkpointBytes({ shared: false }), "");
    expect(own.classifier).toHaveLength(own.embeddings.length);
    expect(own.classifier).not.toEqual(own.embeddings);
  });
});
