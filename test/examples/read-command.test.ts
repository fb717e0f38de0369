// npm start, as a user runs it.
import { execFileSync, spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HEADS } from "../../examples/read/heads.ts";
import { mobyDick } from "../../examples/read/text.ts";
import { tokenise } from "../../examples/read/tokens.ts";

const ESCAPE = "\x1b";

describe("the command", () => {
  const folder = mkdtempSync(join(tmpdir(), "heed-read-"));
  const cli = ["build/read.js"];
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined, COLUMNS: "96" };
  const read = (args: string[], input?: string, more: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> =>
    spawnSync(process.execPath, [...cli, ...args], { encoding: "utf8", env: { ...env, ...more }, input: input ?? "" });

  beforeAll(() => {
    if (!existsSync("build/read.js")) execFileSync(process.execPath, ["scripts/build.js"]);
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
    const { stdout } = read(["--chapter", "36", "--tokens", "50"]);
    expect(stdout).toMatch(/Only the first \d+ of [\d,]+ characters of Moby-Dick, chapter 36, .* are read\./s);
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
      [["--chapter", "2"], '--chapter expected 1, 36, 42, 54 or 135, got "2"'],
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
