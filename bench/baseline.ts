// This build of heed beside an older one, in one process and turn by turn, through the public API alone.
import { pathToFileURL } from "node:url";
import { type Heed, load } from "heed";
import { HEED_CASES, type HeedCase } from "./cases/heed-cases.ts";
import type { Contender } from "./harness/entrant.ts";
import { median, runFor } from "./harness/measure.ts";
import { messageOf, milliseconds, progress } from "./harness/report.ts";
import { type Round, type Speedup, alternate, isSlower, speedupOf } from "./harness/turns.ts";
import { type Options, matches, namesTables, wants } from "./options.ts";
import type { Variant } from "./peers/heed.ts";
import { headOf, writeRun } from "./results.ts";

/** A shape is slower below this many times the old speed. */
const BAR = 0.97;
/** A shape that looks slower is measured again, so many times in all. */
const TRIES = 3;
const FULL = { rounds: 9, turn: 150, warmUp: 150 };
const QUICK = { rounds: 3, turn: 30, warmUp: 30 };

/** One line: a call of one build variant, old and new. */
interface Row {
  variant: Variant;
  what: string;
  form: string;
  /** Milliseconds a call, medians of all turns. */
  oldMs: number;
  newMs: number;
  speedup: Speedup;
  rounds: number;
  /** "same bits", or how far the results are apart. */
  result: string;
  slower: boolean;
}

type Effort = typeof FULL;

/** `oldFile` is the dist/index.js of the older build. Returns how many shapes are slower. */
export async function runBaseline(oldFile: string, options: Options, file: string): Promise<number> {
  const started = performance.now();
  const { load: loadOld } = (await import(pathToFileURL(oldFile).href)) as { load: typeof load };
  const effort = { ...(options.quick ? QUICK : FULL) };
  if (options.rounds !== undefined) effort.rounds = options.rounds;
  if (options.seconds !== undefined) effort.turn = (1000 * options.seconds) / effort.rounds;
  const cases = HEED_CASES.filter((one) => isMeant(one, options));

  console.log(headOf("one thread"));
  console.log(`old: ${oldFile}; new: this build; ${effort.rounds} turns of each of ${effort.turn.toFixed(0)} ms\n`);
  const width = Math.max(...cases.map(({ what }) => what.length));
  console.log(line(width, "", "", "", "old ms", "new ms", "by best", "by median", "result"));
  const rows: Row[] = [];
  for (const variant of (["relaxed", "simd"] as const).filter((one) => matches(`heed ${one}`, options.peer))) {
    let builds: { old: Heed; new: Heed };
    try {
      builds = { old: await loadOld({ variant }), new: await load({ variant }) };
    } catch (error) {
      console.log(`heed ${variant} skipped: ${messageOf(error)}`);
      continue;
    }
    for (const one of cases) {
      for await (const row of compareCase(one, builds, effort)) {
        progress("");
        console.log(typeof row === "string" ? row : formatRow(width, row));
        if (typeof row !== "string") rows.push(row);
      }
    }
    builds.old.dispose();
    builds.new.dispose();
  }

  console.log(`\n${formatSummary(rows)}`);
  await writeRun(file, started, { old: oldFile, bar: BAR, rows });
  return rows.filter(({ slower }) => slower).length;
}

function isMeant({ table, what, quick }: HeedCase, options: Options): boolean {
  if (options.quick && !quick) return false;
  if (!matches(what, options.shape)) return false;
  return table === "attention" ? !namesTables(options) : wants(options, table);
}

/** A row for each form of a case, or the reason why a build cannot compute it. */
async function* compareCase(
  one: HeedCase,
  builds: { old: Heed; new: Heed },
  effort: Effort,
): AsyncGenerator<Row | string> {
  const { what, forms } = one;
  const made: Contender[] = [];
  const { variant } = builds.new;
  try {
    const make = one.open();
    const [olds, news] = [make(builds.old), make(builds.new)];
    made.push(...olds, ...news);
    for (const [n, form] of forms.entries()) {
      progress(`${variant} ${what}, ${form}`);
      const pair = { old: olds[n]!, new: news[n]! };
      const result = compareResults(await pair.old.result(), await pair.new.result());
      const rounds = await measurePair(pair, effort);
      const speedup = speedupOf(rounds);
      yield {
        variant,
        what,
        form,
        oldMs: median(rounds.map(({ old }) => old.median)),
        newMs: median(rounds.map((round) => round.new.median)),
        speedup,
        rounds: rounds.length,
        result,
        slower: isSlower(speedup, BAR),
      };
    }
  } catch (error) {
    yield `${variant} ${what} skipped: ${messageOf(error)}`;
  } finally {
    for (const contender of made) contender.dispose?.();
  }
}

/** Warms both up and lets them alternate; again while one of the two estimates looks slower, at most TRIES times. */
async function measurePair(pair: { old: Contender; new: Contender }, effort: Effort): Promise<Round[]> {
  for (const contender of [pair.old, pair.new]) await runFor(contender, effort.warmUp);
  const rounds: Round[] = [];
  for (let pass = 0; pass < TRIES; pass++) {
    rounds.push(...(await alternate(pair, effort)));
    const { best, median } = speedupOf(rounds);
    if (Math.min(best, median) >= BAR) break;
  }
  return rounds;
}

function compareResults(old: Float32Array, now: Float32Array): string {
  if (old.length !== now.length) return `${old.length} and ${now.length} values`;
  const [a, b] = [old, now].map((x) => new Uint32Array(x.buffer, x.byteOffset, x.length)) as [Uint32Array, Uint32Array];
  if (a.every((bits, i) => bits === b[i])) return "same bits";
  const apart = old.reduce((most, x, i) => Math.max(most, Math.abs(x - now[i]!)), 0);
  return `apart by ${apart.toExponential(1)}`;
}

function formatRow(width: number, { variant, what, form, oldMs, newMs, speedup, result, slower }: Row): string {
  const [old, now] = [milliseconds(oldMs), milliseconds(newMs)];
  const ratios = [speedup.best, speedup.median].map((ratio) => `${ratio.toFixed(3)}×`) as [string, string];
  return line(width, variant, what, form, old, now, ...ratios, slower ? `${result}, SLOWER` : result);
}

/** Columns of fixed widths, so that each line can be printed as soon as it is known. */
function line(
  width: number,
  variant: string,
  what: string,
  form: string,
  ...[old, now, best, median, result]: [string, string, string, string, string]
): string {
  const names = [variant.padEnd(7), what.padEnd(width), form.padEnd(8)];
  const numbers = [old, now, best, median].map((cell) => cell.padStart(9));
  return [...names, ...numbers, ` ${result}`].join("  ").trimEnd();
}

/** The speeds as a whole, and the shapes that are slower. */
export function formatSummary(rows: readonly Row[]): string {
  const lines = (["relaxed", "simd"] as const).flatMap((variant) => {
    const ratios = rows.filter((row) => row.variant === variant).map(({ speedup }) => speedup.median);
    if (ratios.length === 0) return [];
    const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
    const [least, most] = [Math.min(...ratios), Math.max(...ratios)].map((ratio) => `${ratio.toFixed(3)}×`);
    return [
      `${variant}: new ÷ old speed ${mean.toFixed(3)}× (geometric mean of ${ratios.length}), ${least} to ${most}`,
    ];
  });
  const slower = rows.filter((row) => row.slower);
  const names = slower.map(
    ({ variant, what, form, speedup: { best, median } }) =>
      `  ${variant} ${what}, ${form}: ${best.toFixed(3)}× by best, ${median.toFixed(3)}× by median`,
  );
  return [...lines, `slower than ${BAR}×: ${slower.length === 0 ? "none" : slower.length}`, ...names].join("\n");
}
