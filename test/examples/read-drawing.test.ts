// What examples/read draws in a terminal.
import { describe, expect, it } from "vitest";
import { bestWindow } from "../../examples/read/findings.ts";
import { clip, textWidth, wrap } from "../../examples/read/columns.ts";
import { drawHeatMap } from "../../examples/read/heatmap.ts";
import { drawLinks } from "../../examples/read/links.ts";
import { colourDepth, painter } from "../../examples/read/paint.ts";
import { quote } from "../../examples/read/phrases.ts";
import { report } from "../../examples/read/report.ts";
import { mobyDick } from "../../examples/read/text.ts";
import { tokenise } from "../../examples/read/tokens.ts";
import { attend } from "../support/read.ts";

const ESCAPE = "\x1b";
const plain = painter(1);

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
    const run = {
      variant: "simd",
      threads: 1,
      threadsReason: undefined,
      first: 0.1,
      warm: 0.05,
      half: { seconds: 0.09, difference: 1e-4 },
      memory: { used: 0, peak: 1e6, reserved: 2e6 },
      replayed,
    };
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
