// npm start, as a user runs it.
import { execFileSync, spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HEADS } from "../../examples/read/heads.ts";
import { textWidth } from "../../examples/read/columns.ts";
import { mobyDick } from "../../examples/read/text.ts";
import { tokenise } from "../../examples/read/tokens.ts";
import { thinned } from "../support/sweep.ts";

const ESCAPE = "\x1b";

const folder = mkdtempSync(join(tmpdir(), "heed-read-"));
beforeAll(() => {
  if (!existsSync("build/read.js")) execFileSync(process.execPath, ["scripts/build.js"]);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("the command", () => {
  const cli = ["build/read.js"];
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined, COLUMNS: "96" };
  const read = (args: string[], input?: string, more: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> =>
    spawnSync(process.execPath, [...cli, ...args], { encoding: "utf8", env: { ...env, ...more }, input: input ?? "" });

  it("reads Moby-Dick where nothing is given, and shows every section", () => {
    const { stdout, stderr, status } = read([]);
    expect(stderr.split("\n")).toEqual([
      "read: tokenising …",
      "read: building four heads for 2,799 tokens …",
      "read: attending, 2,799 tokens in one call …",
      "read: attending again, token by token …",
      "read: reading the answers back …",
      "",
    ]);
    expect(status).toBe(0);
    expect(stdout).toContain("Reading Moby-Dick, chapter 1, “Loomings”: 2,799 tokens, 1,111 distinct");
    expect(stdout).toMatch(/One call, [\d.]+ m?s: [\d.]+ GFLOP\/s on one thread, without the 125 MB of scores\./);
    expect(stdout).toContain("What four heads look at from “find”, token 92");
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

  it("computes on as many threads as it is told to, or says why not", () => {
    const { stdout, status } = read(["--threads", "2"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/GFLOP\/s on (2 threads|one thread \(a worker gave no answer within 1000 ms\)), variant/);
  });

  it("computes in half precision, and says how far from full that is", () => {
    const { stdout, status } = read(["--precision", "half"]);
    expect(status).toBe(0);
    const [, difference] = /precision +half: [\d.]+ times as fast as full, no value further than (\S+) from/.exec(
      stdout,
    )!;
    expect(Number(difference)).toBeGreaterThan(1e-6);
    expect(Number(difference)).toBeLessThan(0.05);
  });

  it("colours where it is told to", () => {
    expect(read(["--text", "a b a"], "", { FORCE_COLOR: "3" }).stdout).toContain(`${ESCAPE}[38;2;`);
  });

  it("reads --text, --file and what is piped in", () => {
    const file = join(folder, "own.txt");
    writeFileSync(file, "to be or not to be");
    expect(read(["--text", "hello"]).stdout).toContain("Reading your text: 1 token, 1 distinct");
    expect(read(["--file", file]).stdout).toContain(`Reading ${file}: 6 tokens`);
    expect(read([], "to be or not to be").stdout).toContain("Reading standard input: 6 tokens");
    expect(read(["--file", "-"], "to be").stdout).toContain("Reading standard input: 2 tokens");
    expect(read(["--text", "hello"], "ignored").stdout).toContain("Reading your text");
  });

  it("does not wait for ever for a standard input that is open and silent", async () => {
    const child = spawn(process.execPath, cli, { env, stdio: ["pipe", "pipe", "ignore"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect(status).toBe(0);
    expect(output).toContain("Reading Moby-Dick");
  });

  it("says when it reads only a part", () => {
    const { stdout } = read(["--chapter", "36", "--tokens", "50"]);
    expect(stdout).toMatch(/Only the first \d+ of [\d,]+ characters of Moby-Dick, chapter 36, .* are read\./s);
    expect(stdout).toContain("── Over all that was read ──");
  });

  it("says of a large file what it knows", () => {
    const file = join(folder, "large.txt");
    writeFileSync(file, "to be or not to be\n".repeat(1_100_000));
    const { stdout, status } = read(["--file", file, "--tokens", "50"]);
    expect(status).toBe(0);
    expect(stdout.replaceAll("\n ", " ")).toContain(`characters of ${file} (20.9 MB) are read.`);
    expect(stdout).not.toMatch(/4,194,304|of [\d,]+ characters/);
    const piped = read(["--tokens", "50"], "to be or not to be\n".repeat(300_000)).stdout;
    expect(piped).toMatch(/Only the first \d+ characters of standard input are read\./);
    writeFileSync(file, "x".repeat(2 ** 22));
    expect(read(["--file", file, "--tokens", "2"]).stdout.replaceAll("\n ", " ")).toContain(
      ` of 4,194,304 characters of ${file} are read.`,
    );
    writeFileSync(file, `${"x".repeat(2 ** 22 - 1)}é`);
    expect(read(["--file", file, "--tokens", "2"]).stdout.replaceAll("\n ", " ")).toContain(
      `of ${file} (4.19 MB) are read.`,
    );
  });

  it("reads files without a newline, of Windows, with a mark of their encoding, and with any name", () => {
    const file = join(folder, "\x1b[31m.txt");
    for (const text of thinned(["\ufeffto be\r", "to\r\nbe\r\n", "to be", "\x1b[2J"], (_, n) => n !== 2)) {
      writeFileSync(file, text);
      const { stdout, status } = read(["--file", file]);
      expect(status).toBe(0);
      expect(stdout).toContain("\\u001b[31m.txt");
      for (const obeyed of [ESCAPE, "\r"]) expect(stdout).not.toContain(obeyed);
    }
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
    expect(page).toMatch(/content="\s*default-src 'none';/);
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
    for (const option of ["--file", "--text", "--chapter", "--tokens", "--threads", "--precision", "--html"])
      expect(stdout).toContain(option);
  });

  it("answers a mistake with one line and exit code 1", () => {
    const binary = join(folder, "binary");
    writeFileSync(binary, Uint8Array.of(0x41, 0, 0x42));
    const latin = join(folder, "latin");
    writeFileSync(latin, Uint8Array.of(0xe9, 0x74, 0xe9));
    const empty = join(folder, "empty");
    writeFileSync(empty, "");
    const blank = join(folder, "blank");
    writeFileSync(blank, "\ufeff \r\n\t");
    const mistakes: [string[], string][] = [
      [["--text", ""], "nothing to read: your text is empty or blank"],
      [["--file", "missing.txt"], 'cannot read "missing.txt": no such file'],
      [["--file", folder], `cannot read ${JSON.stringify(folder)}: it is a directory`],
      [["--file", binary], `${JSON.stringify(binary)} is binary, not text: it has bytes of 0`],
      [["--file", latin], `${JSON.stringify(latin)} is not UTF-8 text`],
      [["--file", empty], `nothing to read: ${empty} is empty or blank`],
      [["--file", blank], `nothing to read: ${blank} is empty or blank`],
      [
        ["--file", join(latin, "x")],
        `cannot read ${JSON.stringify(join(latin, "x"))}: a part of the path is no folder`,
      ],
      [["--file", "-"], "nothing to read: standard input is empty or blank"],
      [["--file", "a", "--text", "b"], "--file, --text and --chapter exclude each other"],
      [["--chapter", "2"], '--chapter expected 1, 36, 42, 54 or 135, got "2"'],
      [["--tokens", "0"], '--tokens expected a number from 1 to 32768, got "0"'],
      [["--threads", "0"], '--threads expected a number from 1 to 64, got "0"'],
      [["--precision", "f16"], '--precision expected "full" or "half", got "f16"'],
      [["--html", ""], "--html expected the path of a file to write"],
      [["--html", folder], `cannot write ${JSON.stringify(folder)}: it is a directory`],
      [
        ["--html", join(folder, "none", "a.html")],
        `cannot write ${JSON.stringify(join(folder, "none", "a.html"))}: no such folder`,
      ],
      [["--colour"], "Unknown option '--colour' (--help lists the options)"],
    ];
    // Each is a process of its own, so the quick tier takes every third.
    for (const [args, message] of thinned(mistakes, (_, n) => n % 3 === 0)) {
      const { status, stdout, stderr } = read(args);
      const complaint = stderr.replaceAll(/^read: .* …\n/gm, "");
      expect({ status, stdout, complaint }).toEqual({ status: 1, stdout: "", complaint: `read: ${message}\n` });
    }
  });
});

/** Runs a program in a terminal of 80 × 24, types `key` when it is asked to, and gives what was written. */
async function atTerminal(program: string, key = ""): Promise<{ written: string; status: number | null }> {
  const env = { ...process.env, TERM: "xterm-256color", CI: undefined, NO_COLOR: undefined, FORCE_COLOR: undefined };
  const command = `stty rows 24 cols 80; exec "${process.execPath}" "${program}"`;
  const child = spawn("script", ["-qec", command, "/dev/null"], { env, stdio: ["pipe", "pipe", "inherit"] });
  let written = "";
  let typed = false;
  child.stdout.on("data", (chunk: Buffer) => {
    written += chunk.toString();
    if (typed || !written.includes("q: end ")) return;
    typed = true;
    child.stdin.write(key);
  });
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { written, status };
}

/** What stays on the screen: no colours, and of a line that was rewritten the last state. */
function screenOf(written: string): string[] {
  // eslint-disable-next-line no-control-regex
  const plain = written.replaceAll(/\x1b\[[\d;]*m/g, "").replaceAll("\r\n", "\n");
  const lines = plain
    .split("\n")
    .map((line) => line.slice(line.lastIndexOf(`\r${ESCAPE}[2K`) + 1).replace(`${ESCAPE}[2K`, ""));
  return lines.join("\n").trimEnd().split("\n");
}

/** util-linux has it, and other systems another program of that name. */
const said = spawnSync("script", ["--version"], { encoding: "utf8" }).stdout as string | null;
const hasTerminal = said?.includes("util-linux") ?? false;

describe.runIf(hasTerminal)("the command at a terminal", () => {
  it("shows one screen, and ends on q", async () => {
    const { written, status } = await atTerminal("build/read.js", "q");
    expect(status).toBe(0);
    expect(written).toContain("read: attending, 2,799 tokens in one call …");
    const lines = screenOf(written);
    expect(lines.slice(0, 3)).toEqual([
      "",
      " heed attention at work on a real text",
      " Reading Moby-Dick, chapter 1, “Loomings”: 2,799 tokens, 1,111 distinct",
    ]);
    expect(lines.length).toBeLessThan(24);
    expect(Math.max(...lines.map(textWidth))).toBeLessThanOrEqual(80);
    expect(lines.join("\n")).toMatch(/whenever I find myself$/m);
    expect(lines.at(-1)).toMatch(/^ 4 local /);
  });

  it("shows the rest on Enter", async () => {
    const { written, status } = await atTerminal("build/read.js", "\r");
    expect(status).toBe(0);
    const lines = screenOf(written);
    expect(lines.join("\n")).toContain("── Token by token, as a model writes ──");
    expect(lines.join("\n")).not.toContain("\n\n\n");
  });

  it("says how long a call has taken of what it should, while nothing else runs", async () => {
    const program = join(folder, "watch.mjs");
    const contents = `
      import { finish, watch } from "./progress.ts";
      const spin = () => { for (const end = Date.now() + 1500; Date.now() < end; ); return "done"; };
      const said = await watch("spinning", 3, spin);
      finish();
      console.log(said);
      await watch("failing", 3, () => { throw new Error("as told"); }).catch(({ message }) => console.log(message));
    `;
    const stdin = { contents, resolveDir: "examples/read" };
    await build({ stdin, bundle: true, platform: "node", format: "esm", outfile: program });
    const { written, status } = await atTerminal(program);
    expect(status).toBe(0);
    expect(written).toMatch(/read: spinning: about 3 s …[^]*read: spinning: 1 s of about 3 s …[^]*done\r\n/);
    expect(written).toMatch(/as told\r\n$/);
  });
});
