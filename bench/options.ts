import { parseArgs } from "node:util";

export const HELP = `heed beside its peers, on the same inputs, checked against an f64 reference.

Usage: npm run bench -- [options]

Without options it measures every table. The first run installs the peers (about 500 MB).

Which tables:
  --decode          only decoding: one query against a resident KV cache
  --layer           only the linear layer and the whole multi-head layer
  --weights         only attention weights beside decoding
  --scaling         only the scaling figures: masks, copies, the small call, growth
  --no-decode, --no-layer, --no-weights, --no-scaling
                    every table but that one
  --threads [LIST]  only calls on several threads, as many for heed as for its peers, and what threads cost; LIST is
                    like 1,2,all, which is the default, where "all" are the logical processors
  --async           only heed.attentionAsync in the browsers of the system: longest task, abort, time in all;
                    with --peer Firefox in that one alone
  --precision       only attention at half precision beside full, and over rows of 16 bits beside f32; needs no peers
  --caches          only what sharing and saving a KV cache cost; needs no peers
  --weights-dtype   only the linear layer over weights in int8 and int4 beside f32; needs no peers
  --micro           only how close heed comes to what the machine can do: multiply-adds on registers, bare tiles,
                    heed itself, and heed beside a program that takes the second-level cache away
  --cold            only cold starts: import, load and first call in every host of test/runtimes/
  --baseline DIR    only this build beside an older one, the dist/ in DIR; needs no peers; exit code 1 if a
                    shape is slower

What of them:
  --shape TEXT      only shapes whose name contains TEXT, e.g. 512×512 or causal ("x" stands for "×"); repeatable
  --peer TEXT       only peers whose name contains TEXT, e.g. web or simd; repeatable
  --quick           a few shapes, short runs, under a minute

How:
  --seconds N       timed seconds for each entrant and shape (default 1.5, with --quick 0.25)
  --rounds N        with --baseline: turns of each build for each shape (default 9, with --quick 3)
  --json FILE       where to write the results (default bench/results/latest.json or baseline.json)
  --chart FILE      only draw the results of an earlier run (those of --json) as an SVG

  --list            name the tables, shapes and peers, and end
  --help            this page
`;

/** What the command line asks for. */
export type Options = ReturnType<typeof parseOptions>;

/** The tables that can be asked for, or left out, by name. */
export type Table = "decode" | "layer" | "weights" | "scaling";

/** @throws Error for what is no option or no number */
export function parseOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: withThreads(args),
    options: {
      decode: { type: "boolean" },
      layer: { type: "boolean" },
      weights: { type: "boolean" },
      scaling: { type: "boolean" },
      threads: { type: "string" },
      async: { type: "boolean", default: false },
      micro: { type: "boolean", default: false },
      caches: { type: "boolean", default: false },
      precision: { type: "boolean", default: false },
      "weights-dtype": { type: "boolean", default: false },
      cold: { type: "boolean", default: false },
      baseline: { type: "string" },
      chart: { type: "string" },
      shape: { type: "string", multiple: true, default: [] },
      peer: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      seconds: { type: "string" },
      rounds: { type: "string" },
      json: { type: "string" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
    allowNegative: true,
  });
  const seconds = parseNumber("--seconds", values.seconds, (value) => value > 0, "a number above 0");
  const isCount = (value: number): boolean => Number.isInteger(value) && value >= 1;
  const rounds = parseNumber("--rounds", values.rounds, isCount, "a whole number of at least 1");
  if (values.threads !== undefined) threadCounts(values.threads, 1);
  return { ...values, seconds, rounds };
}

/** The arguments with what `--threads` alone stands for. */
function withThreads(args: readonly string[]): string[] {
  const isAlone = (arg: string, at: number): boolean => arg === "--threads" && !/^(\d|all)/.test(args[at + 1] ?? "");
  return args.map((arg, at) => (isAlone(arg, at) ? "--threads=1,2,all" : arg));
}

/** Most threads of an instance of heed. */
const MAX_THREADS = 64;

/**
 * The numbers of threads in a list like "1,2,all", each once, in order. 1 is always among them, since the others are
 * compared with it.
 *
 * @throws Error for what is no such list
 */
export function threadCounts(list: string, processors: number): number[] {
  const counts = list.split(",").map((item) => (item === "all" ? processors : /^\d+$/.test(item) ? Number(item) : 0));
  if (counts.some((count) => count < 1 || count > MAX_THREADS)) {
    throw new Error(`--threads expected numbers from 1 to ${MAX_THREADS} or "all", got ${JSON.stringify(list)}`);
  }
  return [...new Set([1, ...counts])].sort((a, b) => a - b);
}

function parseNumber(
  name: string,
  given: string | undefined,
  isRight: (value: number) => boolean,
  expected: string,
): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (given.trim() === "" || !isRight(value))
    throw new Error(`${name} expected ${expected}, got ${JSON.stringify(given)}`);
  return value;
}

/** Whether a table is wanted: all are, or only those named, less those left out. */
export function wants(options: Pick<Options, Table>, table: Table): boolean {
  return options[table] ?? !namesTables(options);
}

/** Whether some tables are asked for by name, so that the others are not meant. */
export function namesTables({ decode, layer, weights, scaling }: Pick<Options, Table>): boolean {
  return [decode, layer, weights, scaling].includes(true);
}

/** Whether a name contains one of the texts, in which an "x" between digits stands for "×". None asks for all. */
export function matches(name: string, texts: readonly string[]): boolean {
  return texts.length === 0 || texts.some((text) => name.includes(text.replaceAll(/(?<=\d)x(?=\d)/g, "×")));
}
