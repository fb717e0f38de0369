import { execFileSync, spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { load } from "heed";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  attended,
  type Attended,
  bestWindow,
  lookedAt,
  previousTokenRight,
  scoreOf,
} from "../examples/read/findings.ts";
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
} from "../examples/read/heads.ts";
import { clip, textWidth } from "../examples/read/columns.ts";
import { drawHeatMap } from "../examples/read/heatmap.ts";
import { drawLinks } from "../examples/read/links.ts";
import { colourDepth, painter } from "../examples/read/paint.ts";
import { report } from "../examples/read/report.ts";
import { mobyDick, TextError } from "../examples/read/text.ts";
import { tokenise, tokenLabel } from "../examples/read/tokens.ts";

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

  it("has 135 chapters", () => {
    expect(mobyDick(135).title).toBe("Moby-Dick, chapter 135, “The Chase.—Third Day”");
    expect(() => mobyDick(136)).toThrow(TextError);
  });
});

describe("the drawing", () => {
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
    const text = await attend(tokenise(mobyDick(1).text, 600).tokens);
    const replayed = { tokens: 600, seconds: 0.1, cacheBytes: 1e6, difference: 1e-7 };
    const run = { variant: "simd", first: 0.1, warm: 0.05, memory: { used: 0, peak: 1e6, reserved: 2e6 }, replayed };
    for (const columns of [60, 100, 140]) {
      for (const depth of [1, 4, 8, 24] as const) {
        const page = report({ title: "a text", cut: undefined, scope: "the whole text", text, run }, columns, depth);
        // eslint-disable-next-line no-control-regex
        const lines = page.replace(/\x1b\[[\d;]*m/g, "").split("\n");
        expect(Math.max(...lines.map(textWidth))).toBeLessThanOrEqual(columns);
        expect(page.includes(ESCAPE)).toBe(depth > 1);
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

describe("the command", () => {
  const folder = mkdtempSync(join(tmpdir(), "heed-read-"));
  const cli = ["build/read.js"];
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined, COLUMNS: "96" };
  const read = (args: string[], input?: string, more: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> =>
    spawnSync(process.execPath, [...cli, ...args], { encoding: "utf8", env: { ...env, ...more }, input: input ?? "" });

  beforeAll(() => {
    if (!existsSync("build/read.js")) execFileSync(process.execPath, ["esbuild.config.js"]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("reads Moby-Dick where nothing is given, and shows every section", () => {
    const { stdout, stderr, status } = read([]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain("Reading Moby-Dick, chapter 1, “Loomings”: 2,799 tokens of gpt-tokenizer, 1,111 distinct");
    const sections = [
      "The text, and what the induction head looks at",
      "The four heads on that passage",
      "In words",
      "Over the whole chapter",
      "The call",
      "Token by token, as a model writes",
    ];
    for (const section of sections) expect(stdout).toContain(`── ${section} ──`);
    for (const { name } of HEADS) expect(stdout).toContain(name);
    expect(stdout).toMatch(/speed +[\d.]+ GFLOP\/s on one thread, variant "(simd|relaxed)"/);
    expect(stdout).not.toContain(ESCAPE);
  });

  it("colours where it is told to", () => {
    expect(read(["--text", "a b a"], "", { FORCE_COLOR: "3" }).stdout).toContain(`${ESCAPE}[38;2;`);
  });

  it("reads --text, --file and what is piped in", () => {
    const file = join(folder, "own.txt");
    writeFileSync(file, "to be or not to be");
    expect(read(["--text", "hello"]).stdout).toContain("Reading your text: 1 token of gpt-tokenizer, 1 distinct");
    expect(read(["--file", file]).stdout).toContain(`Reading ${file}: 6 tokens`);
    expect(read([], "to be or not to be").stdout).toContain("Reading standard input: 6 tokens");
    expect(read(["--file", "-"], "to be").stdout).toContain("Reading standard input: 2 tokens");
    expect(read(["--text", "hello"], "ignored").stdout).toContain("Reading your text");
  });

  it("does not wait for ever for a standard input that is open and silent", async () => {
    const child = spawn(process.execPath, cli, { env, stdio: ["pipe", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect(status).toBe(0);
    expect(output).toContain("Reading Moby-Dick");
  }, 20_000);

  it("says when it reads only a part", () => {
    const { stdout } = read(["--chapter", "2", "--tokens", "50"]);
    expect(stdout).toMatch(/Only the first \d+ of [\d,]+ characters of Moby-Dick, chapter 2, .* are read\./s);
    expect(stdout).toContain("── Over all that was read ──");
  });

  it("writes a page that holds the text and asks nothing of any server", () => {
    const file = join(folder, "report.html");
    const text = "to be or not to be </script><!-- <script> $& that is the question ".repeat(40);
    expect(read(["--html", file], text).stdout).toContain(`${file} shows this text as a page`);
    const page = readFileSync(file, "utf8");
    const [, json] = /<script type="application\/json" id="source">([^<]*)<\/script>/.exec(page)!;
    const source = JSON.parse(json!) as { title: string; text: string; limit: number; start: number };
    expect(source).toMatchObject({ title: "standard input", text, limit: 8192 });
    expect(Object.keys(source)).toContain("start");
    // Nothing is linked to, the policy forbids it too, and the only addresses are names of XML namespaces.
    expect(page).toContain(`content="default-src 'none';`);
    expect(page).not.toMatch(/<(?:script|img|iframe|object)[^>]* src=|@import|url\(|<link[^>]* href="(?!data:)/);
    for (const [address] of page.matchAll(/(?:https?|wss?):\/\/[^\s"'`]*/g))
      expect(address).toMatch(/^http:\/\/www\.w3\.org\//);
    expect(page.match(/<\/script>/g)).toHaveLength(3);
  });

  it("puts the passage of the report on the page, and of a long text what was read", () => {
    const file = join(folder, "chapter.html");
    const sourceOf = (...args: string[]) => {
      expect(read([...args, "--html", file]).status).toBe(0);
      return JSON.parse(/id="source">([^<]*)</.exec(readFileSync(file, "utf8"))![1]!) as {
        text: string;
        start: number;
      };
    };
    const { text, start } = sourceOf();
    const { ends } = tokenise(text, 8192);
    expect(text).toBe(mobyDick(1).text);
    expect(text.slice(ends[start - 1], ends[start + 47])).toContain(
      " Whenever I find myself growing grim about the mouth",
    );
    expect(tokenise(sourceOf("--tokens", "50").text, 8192).tokens).toHaveLength(50);
  });

  it("has help", () => {
    const { stdout, status } = read(["--help"]);
    expect(status).toBe(0);
    for (const option of ["--file", "--text", "--chapter", "--tokens", "--html"]) expect(stdout).toContain(option);
  });

  it("answers a mistake with one line and exit code 1", () => {
    const binary = join(folder, "binary");
    writeFileSync(binary, Uint8Array.of(0xff, 0xfe, 0));
    const mistakes: [string[], string][] = [
      [["--text", ""], "nothing to read: your text is empty or blank"],
      [["--file", "missing.txt"], 'cannot read "missing.txt": no such file'],
      [["--file", folder], `cannot read ${JSON.stringify(folder)}: it is a directory`],
      [["--file", binary], `${JSON.stringify(binary)} is not UTF-8 text`],
      [["--file", "-"], "nothing to read: standard input is empty or blank"],
      [["--file", "a", "--text", "b"], "--file, --text and --chapter exclude each other"],
      [["--chapter", "136"], '--chapter expected a number from 1 to 135, got "136"'],
      [["--tokens", "0"], '--tokens expected a number from 1 to 32768, got "0"'],
      [["--html", ""], "--html expected the path of a file to write"],
      [["--html", folder], `cannot write ${JSON.stringify(folder)}: it is a directory`],
      [
        ["--html", join(folder, "none", "a.html")],
        `cannot write ${JSON.stringify(join(folder, "none", "a.html"))}: no such folder`,
      ],
      [["--colour"], "Unknown option '--colour' (--help lists the options)"],
    ];
    for (const [args, message] of mistakes) {
      expect(read(args)).toMatchObject({ status: 1, stdout: "", stderr: `read: ${message}\n` });
    }
  }, 20_000);
});
