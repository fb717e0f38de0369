// Reads a text with four hand-made attention heads and prints what they did: `npm start`, or `npm start -- --help`.
import { parseArgs } from "node:util";
import { type Heed, load } from "heed";
import { attended, bestWindow } from "./findings.ts";
import { buildHeads, type Built, HEAD_DIM, HEADS } from "./heads.ts";
import { colourDepth } from "./paint.ts";
import { writePage } from "./page.ts";
import { replay } from "./replay.ts";
import { report } from "./report.ts";
import { show } from "./screen.ts";
import { amount, count, listOf, number } from "./phrases.ts";
import { finish, stage, step, watch } from "./progress.ts";
import { CHAPTERS, fromFile, fromStdin, mobyDick, printable, type Source, TextError } from "./text.ts";
import { tokenise, tokenLabel } from "./tokens.ts";
import type { Run } from "./words.ts";

const HELP = `Attention at work on a real text: four heads, built by construction, read it in one heed.attention call.

Usage: npm start -- [options]
       node build/read.js [options]

  --file <path>     read this file; "-" is standard input, waited for as long as it takes
  --text <text>     read this text
  --chapter <n>     read chapter n of Moby-Dick: ${listOf(CHAPTERS, "or")} (default 1)
  --tokens <n>      read n tokens at most (default 8192): time grows with their square, memory in step with them
  --threads <n>     compute on n threads (default 1)
  --precision half  multiply in integers of 13 bits, and say how far that is from full precision
  --html <path>     also write a page to this file: the heads on this text, which can be edited there
  --help            this help

Without --file, --text and --chapter the text is what is piped in or, if nothing is, chapter 1 of Moby-Dick.
Colour follows the terminal, NO_COLOR and FORCE_COLOR; the width that of the terminal, else COLUMNS, else 96,
but from 40 to 120 columns.
`;

const DEFAULT_TOKENS = 8192;
const MOST_TOKENS = 32768;
const MOST_THREADS = 64;
/** Milliseconds after which a silent standard input counts as empty. */
const PATIENCE = 1000;
/** Tokens that the page of --html shows at first. */
const PASSAGE = 48;
/** A second, warm call is made where the first took fewer seconds than this. */
const WORTH_REPEATING = 2;
/** A call that should take more seconds than this is watched. */
const WORTH_WATCHING = 2;
/** Tokens of the call that a longer one is estimated from. */
const PROBED_TOKENS = 1024;

type Precision = "full" | "half";

interface Options {
  file?: string | undefined;
  text?: string | undefined;
  chapter?: string | undefined;
  tokens?: string | undefined;
  threads?: string | undefined;
  precision?: string | undefined;
  html?: string | undefined;
  help?: boolean | undefined;
}

async function main(): Promise<void> {
  const options = parseOptions();
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  if (options.html === "") throw new TextError("--html expected the path of a file to write");
  const limit = parseCount("--tokens", options.tokens, DEFAULT_TOKENS, MOST_TOKENS);
  const threads = parseCount("--threads", options.threads, 1, MOST_THREADS);
  const precision = parsePrecision(options.precision);
  const source = await chooseSource(options);
  if (source.text.trim() === "") throw new TextError(`nothing to read: ${source.title} is empty or blank`);

  stage("tokenising");
  const { tokens, covered } = tokenise(source.text, limit);
  stage(`building four heads for ${count(tokens.length, "token")}`);
  const built = buildHeads(tokens);
  const { out, lse, run } = await attend(built, threads, precision);
  const reading = "reading the answers back";
  stage(reading);
  const text = attended(tokens, tokens.map(tokenLabel), built, { out, lse }, (i) => step(reading, i, tokens.length));
  const isCut = covered < source.text.length || source.hasMore === true;
  const page = {
    title: source.title,
    cut: isCut ? cutNote(covered, source, options.tokens === undefined) : undefined,
    scope: isCut ? "all that was read" : source.title.startsWith("Moby-Dick") ? "the whole chapter" : "the whole text",
    text,
    run,
  };
  const columns = (process.stdout.isTTY ? process.stdout.columns : Number(process.env["COLUMNS"])) || 96;
  if (options.html !== undefined) {
    // The page takes a text whole: what was not read goes no further.
    const start = bestWindow(text, Math.min(tokens.length, PASSAGE));
    const read = {
      title: source.title,
      text: source.text.slice(0, covered),
      limit: Math.max(limit, DEFAULT_TOKENS),
      start,
    };
    writePage(options.html, read);
  }
  finish();
  const { first, rest } = report(page, columns, colourDepth(process.stdout.isTTY, process.env));
  if (options.html !== undefined) {
    first.push("", ` ${printable(options.html)} shows this text as a page: open it in a browser.`);
  }
  await show(first, rest);
}

async function attend(
  built: Built,
  threads: number,
  precision: Precision,
): Promise<{ out: Float32Array; lse: Float32Array; run: Run }> {
  const heed = await load({ threads });
  try {
    const attending = `attending, ${count(lengthOf(built), "token")} in one call`;
    const expected = expectedSeconds(heed, built);
    if (expected < WORTH_WATCHING) stage(attending);
    const first =
      expected < WORTH_WATCHING
        ? call(heed, built, precision)
        : await watch(attending, expected, () => call(heed, built, precision));
    const warm = first.seconds < WORTH_REPEATING ? call(heed, built, precision).seconds : undefined;
    const half = precision === "half" ? compareWithFull(heed, built, first.out) : undefined;
    const { variant, memory, threadsReason } = heed;
    const replaying = "attending again, token by token";
    stage(replaying);
    const replayed = replay(heed, built, first.out, (done, all) => step(replaying, done, all));
    return {
      out: first.out,
      lse: first.lse,
      run: { variant, threads: heed.threads, threadsReason, first: first.seconds, warm, half, memory, replayed },
    };
  } finally {
    heed.dispose();
  }
}

/** The one call that all this is about, and how long it took. */
function call(heed: Heed, { q, k, v, alibiSlopes, sinks }: Built, precision: Precision = "full") {
  const start = performance.now();
  const answer = heed.attention(q, k, v, {
    numHeads: HEADS.length,
    headDim: HEAD_DIM,
    scale: 1,
    causal: true,
    alibiSlopes,
    sinks,
    precision,
    lse: true,
  });
  return { ...answer, seconds: (performance.now() - start) / 1000 };
}

/** The same call in full precision: how long it takes, and how far any float of `out` is from its own. */
function compareWithFull(heed: Heed, built: Built, out: Float32Array): { seconds: number; difference: number } {
  call(heed, built);
  const full = call(heed, built);
  const difference = full.out.reduce((most, x, i) => Math.max(most, Math.abs(x - out[i]!)), 0);
  return { seconds: full.seconds, difference };
}

/**
 * How long a call should take by the time of one on the first tokens: the work grows with the square. 0 for a text too
 * short to ask.
 */
function expectedSeconds(heed: Heed, built: Built): number {
  const length = lengthOf(built);
  if (length <= PROBED_TOKENS * 4) return 0;
  const [q, k, v] = [built.q, built.k, built.v].map((rows) =>
    rows.subarray(0, PROBED_TOKENS * HEADS.length * HEAD_DIM),
  );
  const probe = { ...built, q: q!, k: k!, v: v! };
  call(heed, probe);
  return call(heed, probe).seconds * (length / PROBED_TOKENS) ** 2;
}

function lengthOf({ q }: Built): number {
  return q.length / (HEADS.length * HEAD_DIM);
}

function parseOptions(): Options {
  try {
    return parseArgs({
      options: {
        file: { type: "string" },
        text: { type: "string" },
        chapter: { type: "string" },
        tokens: { type: "string" },
        threads: { type: "string" },
        precision: { type: "string" },
        html: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    }).values;
  } catch (error) {
    const [first] = (error as Error).message.split(/\. |\n/);
    throw new TextError(`${first!} (--help lists the options)`);
  }
}

function parsePrecision(given: string = "full"): Precision {
  if (given !== "full" && given !== "half") {
    throw new TextError(`--precision expected "full" or "half", got ${JSON.stringify(given)}`);
  }
  return given;
}

async function chooseSource({ file, text, chapter }: Options): Promise<Source> {
  const given = [file, text, chapter].filter((option) => option !== undefined);
  if (given.length > 1) throw new TextError("--file, --text and --chapter exclude each other");
  if (text !== undefined) return { title: "your text", text };
  if (file === "-") return (await fromStdin(Infinity)) ?? { title: "standard input", text: "" };
  if (file !== undefined) return fromFile(file);
  if (chapter !== undefined) return mobyDick(parseChapter(chapter));
  return (await fromStdin(PATIENCE)) ?? mobyDick(1);
}

function parseCount(name: string, given: string | undefined, otherwise: number, most: number): number {
  if (given === undefined) return otherwise;
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= 1 && value <= most) return value;
  throw new TextError(`${name} expected a number from 1 to ${most}, got ${JSON.stringify(given)}`);
}

function parseChapter(given: string): number {
  const chapter = CHAPTERS.find((number) => String(number) === given);
  if (chapter !== undefined) return chapter;
  throw new TextError(`--chapter expected ${listOf(CHAPTERS, "or")}, got ${JSON.stringify(given)}`);
}

function cutNote(covered: number, { text, title, hasMore, bytes }: Source, byDefault: boolean): string {
  // Of what was not looked at nobody knows how many characters it has.
  const all = hasMore ? "" : ` of ${number(text.length)}`;
  const size = hasMore && bytes !== undefined ? ` (${amount(bytes, "B")})` : "";
  const hint = byDefault ? "; --tokens reads more" : "";
  return `Only the first ${number(covered)}${all} characters of ${title}${size} are read${hint}.`;
}

// `npm start | head` closes the pipe early, which is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

try {
  await main();
} catch (error) {
  finish();
  if (!(error instanceof TextError)) throw error;
  process.stderr.write(`read: ${error.message}\n`);
  process.exitCode = 1;
}
