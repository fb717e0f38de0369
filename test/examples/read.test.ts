import { beforeAll, describe, expect, it } from "vitest";
import { type Attended, lookedAt, previousTokenRight, scoreOf } from "../../examples/read/findings.ts";
import {
  HEADS,
  INDUCTION,
  LOCAL,
  lseAt,
  positionCode,
  PREVIOUS,
  readBack,
  SAME,
  SHARPNESS,
  sunkAt,
  tokenCode,
  weightAt,
} from "../../examples/read/heads.ts";
import { textWidth } from "../../examples/read/columns.ts";
import { glance } from "../../examples/read/glance.ts";
import { painter } from "../../examples/read/paint.ts";
import { sayTop } from "../../examples/lens/sentences.ts";
import { CHAPTERS, mobyDick } from "../../examples/read/text.ts";
import { tokenise, tokenLabel } from "../../examples/read/tokens.ts";
import { attend } from "../support/read.ts";

const plain = painter(1);

function argmax(text: Attended, head: number, i: number): number {
  const weights = Array.from({ length: i + 1 }, (_, j) => weightAt(text.built, text.answer.lse, head, i, j));
  return weights.indexOf(Math.max(...weights));
}

describe("the codes", () => {
  it("tell every position from all others up to the most that --tokens allows", () => {
    const zero = positionCode(0);
    const dot = (n: number): number => positionCode(n).reduce((sum, value, d) => sum + value * zero[d]!, 0);
    expect(dot(0)).toBeCloseTo(1, 6);
    for (let n = 1; n < 32768; n++) expect(dot(n)).toBeLessThan(0.6);
  });

  it("are of unit length and a function of the token alone", () => {
    const code = tokenCode(12345);
    expect(code.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 6);
    expect(tokenCode(12345)).toEqual(code);
    expect(tokenCode(12346)).not.toEqual(code);
  });
});

describe("the heads", () => {
  let text: Attended;
  beforeAll(async () => {
    text = await attend(tokenise(mobyDick(1).text, 1500).tokens);
  });

  it("share out 1 among the keys and the sink", () => {
    for (let head = 0; head < HEADS.length; head++) {
      for (const i of [0, 1, 700, 1499]) {
        let sum = sunkAt(text.built, text.answer.lse, head, i);
        for (let j = 0; j <= i; j++) sum += weightAt(text.built, text.answer.lse, head, i, j);
        // lse near 48 is rounded to float32, and the scores are sums of 64 products that were.
        expect(Math.abs(sum - 1)).toBeLessThan(1e-4);
      }
    }
  });

  it("previous token: looks one back, and its output is that token", () => {
    for (let i = 1; i < 1500; i += 13) expect(argmax(text, PREVIOUS, i)).toBe(i - 1);
    const read = readBack(text.tokens, text.built, text.answer, PREVIOUS);
    expect(read).toEqual([undefined, ...text.tokens.slice(0, -1)]);
    expect(previousTokenRight(text)).toBe(1499);
  });

  it("same token: reads the token itself, and lse counts its occurrences", () => {
    expect(readBack(text.tokens, text.built, text.answer, SAME)).toEqual(text.tokens);
    for (let i = 0; i < 1500; i += 7) {
      const times = text.tokens.slice(0, i + 1).filter((token) => token === text.tokens[i]).length;
      expect(Math.exp(lseAt(text.answer.lse, SAME, i) - SHARPNESS) / times).toBeCloseTo(1, 2);
    }
  });

  it("induction: looks at what followed the token before, and at nothing where there is no such place", () => {
    let found = 0;
    for (let i = 0; i < 1500; i++) {
      const seenBefore = text.tokens.indexOf(text.tokens[i]!) < i;
      expect(text.guesses[i] !== undefined).toBe(seenBefore);
      if (!seenBefore || i % 11 !== 0) continue;
      found++;
      expect(text.tokens[argmax(text, INDUCTION, i) - 1]).toBe(text.tokens[i]);
    }
    expect(found).toBeGreaterThan(50);
  });

  it("local: halves every four tokens", () => {
    const weight = (j: number): number => weightAt(text.built, text.answer.lse, LOCAL, 1000, j);
    expect(weight(996) / weight(1000)).toBeCloseTo(0.5, 6);
    expect(weight(992) / weight(1000)).toBeCloseTo(0.25, 6);
  });

  it("continue a repeated phrase without a mistake", async () => {
    const { tokens } = tokenise(" the white whale swam by".repeat(3), 100);
    const repeated = await attend(tokens);
    const phrase = tokens.length / 3;
    expect(scoreOf(repeated, phrase, tokens.length)).toEqual({
      possible: 2 * phrase - 1,
      made: 2 * phrase - 1,
      right: 2 * phrase - 1,
    });
    expect(lookedAt(repeated, INDUCTION, phrase).seen).toMatchObject([
      { token: tokens[1], places: 1, back: phrase - 1 },
    ]);
  });
});

describe("the text", () => {
  it("never gives the terminal anything to obey, and shows part of a character as bytes", () => {
    const labels = (text: string): string[] => tokenise(text, 100).tokens.map(tokenLabel);
    expect(labels("\x1b[31mred\x00\x9b\u202e\r\n").join("")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(labels("\x1b")).toEqual(["␛"]);
    expect(labels("𒀀").join("")).toBe("⟨f0⟩⟨92⟩⟨80⟩⟨80⟩");
    expect(labels("日本").join("")).toBe("日本");
  });

  it("takes special tokens as the characters they are", () => {
    expect(tokenise("<|endoftext|>", 100).tokens.map(tokenLabel).join("")).toBe("<|endoftext|>");
  });

  it("says how much of the text the tokens cover", () => {
    const { text } = mobyDick(1);
    const { tokens, covered } = tokenise(text, 100);
    expect(tokens).toHaveLength(100);
    expect(tokens.map(tokenLabel).join("")).toBe(text.slice(0, covered).replaceAll("\n", "⏎"));
  });

  it("is a whole chapter, title and all", () => {
    for (const chapter of CHAPTERS) {
      const { title, text } = mobyDick(chapter);
      expect(title).toMatch(new RegExp(`^Moby-Dick, chapter ${chapter}, “[^\\n.]+(?:\\.—Third Day)?”$`));
      expect(text.length).toBeGreaterThan(12_000);
      expect(text).toMatch(/^\S[^]*\S\n$/);
    }
    expect(mobyDick(135).title).toBe("Moby-Dick, chapter 135, “The Chase.—Third Day”");
  });
});

describe("the first screen", () => {
  it("draws under each line what each head looks at", async () => {
    const { tokens } = tokenise("the white whale swam by the white whale", 100);
    const text = await attend(tokens);
    expect(text.labels).toEqual(["the", " white", " whale", " sw", "am", " by", " the", " white", " whale"]);
    expect(glance(text, 7, 60, plain)).toEqual([
      "  the white whale swam by the white whale",
      "1                         ▇▇▇",
      "2     ▅▅▅▅▅                   ▅▅▅▅▅",
      "3           ▇▇▇▇▇",
      "4 ▂▂▂ ▂▂▂▂▂ ▃▃▃▃▃ ▃▃▃▃ ▃▃ ▃▃▃ ▄▄▄▄▄",
      "",
      "1 previous token  “the” 100 %",
      "2 same token      “white” 100 %",
      "3 induction       “whale” 100 %: guess right ✓",
      "4 local           “white” 29 %, “the” 18 %, “by” 15 %, …",
    ]);
  });

  it("takes any token of any text", async () => {
    for (const sample of ["a", "a b", "日本語の文", "\n\n\n", "x".repeat(500), " and so on".repeat(300)]) {
      const { tokens } = tokenise(sample, 1000);
      const text = await attend(tokens);
      for (const i of [0, tokens.length >> 1, tokens.length - 1]) {
        for (const width of [38, 78, 118]) {
          const lines = glance(text, i, width, plain);
          expect(Math.max(...lines.map(textWidth))).toBeLessThanOrEqual(width);
          expect(lines.length).toBeLessThanOrEqual(20);
        }
      }
    }
  });

  it("says so where no token has a share worth naming", async () => {
    // Each of sixty words follows "so" once: the induction head looks at all of them alike.
    const words = mobyDick(1).text.match(/\b[a-z]{4,8}\b/g)!;
    const { tokens } = tokenise(
      [...new Set(words)]
        .slice(0, 120)
        .map((word) => ` so ${word}`)
        .join("") + " so",
      1000,
    );
    const text = await attend(tokens);
    const last = tokens.length - 1;
    expect(lookedAt(text, INDUCTION, last).seen).toEqual([]);
    expect(glance(text, last, 78, plain).join("\n")).toMatch(/3 induction .* many, none with 2 %/);
  });
});

describe("the sentences of the lens", () => {
  const top = (keys: number[], weights: number[], sunk: number) => ({ keys, weights, sunk });
  const labels = ["the", " whale", " and", " the"];

  it("say what there is to say, and never begin with nothing", () => {
    const guess = { word: " whale" };
    expect(sayTop(top([1, 3], [0.9, 0.05], 0), INDUCTION, 3, labels, guess)).toBe(
      "“whale” 2 back 90\u00a0%, itself 5.0\u00a0%; so it guesses “whale”",
    );
    expect(sayTop(top([1, 0], [0.019, 0.019], 0), INDUCTION, 2, labels, guess)).toBe(
      "many tokens, none with 2 %; so it guesses “whale”, and “the” comes: wrong",
    );
    expect(sayTop(top([1, 0], [0.01, 0.01], 0.01), LOCAL, 3, labels)).toBe("many tokens, none with 2 %");
    expect(sayTop(top([], [], 1), INDUCTION, 3, labels, { word: undefined })).toBe(
      "the sink 100\u00a0%; it has seen nothing like this, and guesses nothing",
    );
  });
});
