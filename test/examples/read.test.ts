import { load } from "heed";
import { beforeAll, describe, expect, it } from "vitest";
import {
  attended,
  type Attended,
  bestWindow,
  lookedAt,
  previousTokenRight,
  scoreOf,
} from "../../examples/read/findings.ts";
import {
  buildHeads,
  HEAD_DIM,
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
import { clip, textWidth, wrap } from "../../examples/read/columns.ts";
import { glance } from "../../examples/read/glance.ts";
import { drawHeatMap } from "../../examples/read/heatmap.ts";
import { drawLinks } from "../../examples/read/links.ts";
import { colourDepth, painter } from "../../examples/read/paint.ts";
import { quote } from "../../examples/read/phrases.ts";
import { sayTop } from "../../examples/lens/sentences.ts";
import { report } from "../../examples/read/report.ts";
import { CHAPTERS, mobyDick } from "../../examples/read/text.ts";
import { tokenise, tokenLabel } from "../../examples/read/tokens.ts";

const ESCAPE = "\x1b";
const plain = painter(1);

async function attend(tokens: number[]): Promise<Attended> {
  const built = buildHeads(tokens);
  const { q, k, v, alibiSlopes, sinks } = built;
  const heed = await load();
  try {
    const shape = { numHeads: HEADS.length, headDim: HEAD_DIM };
    const answer = heed.attention(q, k, v, { ...shape, scale: 1, causal: true, alibiSlopes, sinks, lse: true });
    return attended(tokens, tokens.map(tokenLabel), built, answer);
  } finally {
    heed.dispose();
  }
}

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

describe("the drawing", () => {
  it("keeps a number and its % on one line", () => {
    expect(wrap("right 193 times of 1,688: 11 %.", 28)).toEqual(["right 193 times of 1,688:", "11 %."]);
  });

  it("keeps a number and its unit, or what it counts, on one line", () => {
    const facts = "512 FLOP in 1.5 ms, 2.31 GFLOP/s, 36 MB of 1,500 tokens (2 places)";
    for (let width = 1; width < 70; width++) {
      for (const line of wrap(facts, width)) expect(line).not.toMatch(/\d$/);
    }
    expect(wrap(facts, 70)).toEqual([facts]);
    expect(wrap("a b\u00a0c 1,500: d", 4)).toEqual(["a", "b\u00a0c", "1,500:", "d"]);
  });

  it("shows a token of spaces by marks", () => {
    expect([quote("  "), quote(" a"), quote("⏎")]).toEqual(["“␣␣”", "“a”", "“⏎”"]);
  });

  it("joins the two ends of a link, on one line and across lines", () => {
    const link = { from: 2, to: 0, colour: [255, 255, 255] } as const;
    const labels = ["one", " two", " three"];
    const styles = [{}, {}, {}];
    expect(drawLinks(labels, [link], styles, 40, plain)).toEqual([
      "    ╭───────╮",
      "    ▾       │",
      "    one two three",
    ]);
    expect(drawLinks(labels, [link], styles, 12, plain)).toEqual([
      " ╭──╮",
      " │  ▾",
      " │  one two",
      " ╰───╮",
      "     │",
      "     three",
    ]);
  });

  it("takes wide and combining characters for what they take", () => {
    expect(textWidth("日本🦄e\u0301")).toBe(7);
    expect(clip("日本語", 5)).toBe("日本…");
    expect(drawLinks(["日本", "語"], [], [{}, {}], 20, plain)).toEqual(["   日本語"]);
  });

  it("shades a heat map where there are no colours, two rows to a line", () => {
    expect(drawHeatMap([[1], [0, 1], [0, 0.3, 0]], [255, 255, 255], 1, plain)).toEqual(["██ ", "·▒·"]);
  });

  it("follows the terminal, NO_COLOR and FORCE_COLOR", () => {
    const term = { TERM: "xterm-256color" };
    expect(colourDepth(true, term)).toBe(8);
    expect(colourDepth(false, term)).toBe(1);
    expect(colourDepth(true, { ...term, NO_COLOR: "1" })).toBe(1);
    expect(colourDepth(true, { ...term, COLORTERM: "truecolor" })).toBe(24);
    expect(colourDepth(false, { FORCE_COLOR: "3", NO_COLOR: "1" })).toBe(24);
    expect(colourDepth(true, { FORCE_COLOR: "0" })).toBe(1);
  });

  it("stays within the width, in colour and without", async () => {
    const replayed = { tokens: 600, seconds: 0.1, cacheBytes: 1e6, difference: 1e-7 };
    const run = { variant: "simd", first: 0.1, warm: 0.05, memory: { used: 0, peak: 1e6, reserved: 2e6 }, replayed };
    for (const written of [mobyDick(1).text, "a", "日本語の文。日本語の文。", "   \n\n  x"]) {
      const text = await attend(tokenise(written, 600).tokens);
      const cut = "Only the first 11 of 12 characters are read.";
      // A terminal of fewer than 40 columns gets 40, and breaks them itself.
      for (const columns of [1, 39, 40, 41, 46, 52, 53, 60, 77, 80, 100, 140, Infinity]) {
        for (const depth of columns % 20 === 0 ? ([1, 4, 8, 24] as const) : ([1] as const)) {
          const { first, rest } = report({ title: "a text", cut, scope: "the whole text", text, run }, columns, depth);
          const page = [...first, ...rest].join("\n");
          // eslint-disable-next-line no-control-regex
          const lines = page.replace(/\x1b\[[\d;]*m/g, "").split("\n");
          expect(Math.max(...lines.map(textWidth))).toBeLessThanOrEqual(Math.max(40, columns));
          expect(page.includes(ESCAPE)).toBe(depth > 1);
        }
      }
    }
  });

  it("chooses the famous passage", async () => {
    const text = await attend(tokenise(mobyDick(1).text, 8192).tokens);
    const start = bestWindow(text, 47);
    expect(text.labels.slice(start, start + 47).join("")).toContain(
      " Whenever I find myself growing grim about the mouth",
    );
  });
});
