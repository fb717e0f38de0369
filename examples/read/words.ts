// What the heads did, in sentences and numbers.
import type { Replay } from "./replay.ts";
import {
  type Attended,
  commonestTokenRight,
  flopOf,
  guessedRight,
  lookedAt,
  previousTokenRight,
  scoreOf,
  type Seen,
  tellingTokens,
} from "./findings.ts";
import { HEAD_DIM, HEADS, INDUCTION, lseAt, PREVIOUS, SAME, SHARPNESS } from "./heads.ts";
import { HEAD_COLOURS } from "./colours.ts";
import { padTo, wrap } from "./columns.ts";
import { type Paint, type Style } from "./paint.ts";
import { amount, count, NONE, number, ordinal, percent, quote, time } from "./phrases.ts";

/** One measured `heed.attention` call. */
export interface Run {
  variant: string;
  threads: number;
  /** Why there are fewer threads than were asked for. */
  threadsReason: string | undefined;
  /** Seconds of the first call, and of the second where there was one. */
  first: number;
  warm: number | undefined;
  /** In half precision: seconds of the same call in full, and the largest difference of any float of out. */
  half: { seconds: number; difference: number } | undefined;
  memory: { used: number; peak: number; reserved: number };
  replayed: Replay;
}

/** For a few tokens of the passage, what each head looked at. */
export function inWords(text: Attended, start: number, size: number, width: number, paint: Paint): string[] {
  return tellingTokens(text, start, size).flatMap((i, nth) => {
    const next = text.labels[i + 1];
    const where = `, token ${i}, ${next === undefined ? "the last" : `before ${quote(next)}`}`;
    return [
      ...(nth > 0 ? [""] : []),
      `${paint(quote(text.labels[i]!), { bold: true })}${where}`,
      ...HEADS.flatMap(({ name }, h) =>
        labelled(`  ${name}`, 18, sayHead(text, h, i), width, { fg: HEAD_COLOURS[h] }, paint),
      ),
    ];
  });
}

function sayHead(text: Attended, head: number, i: number): string {
  const { seen, sunk } = lookedAt(text, head, i);
  if (sunk > 0.5) {
    return head === INDUCTION
      ? "finds no earlier occurrence: its sink takes the weight, and it makes no guess"
      : "finds nothing: its sink takes the weight";
  }
  const shown = seen.slice(0, 3).map((one) => saySeen(one, text, i));
  if (seen.length > 3) shown.push("…");
  let line = shown.length > 0 ? shown.join(", ") : NONE;
  if (head === SAME) {
    const times = Math.round(Math.exp(lseAt(text.answer.lse, SAME, i) - SHARPNESS));
    line += `; lse = ${SHARPNESS} + ln ${times}: ${times === 1 ? "it is new" : `its ${ordinal(times)} time`}`;
  }
  if (head === INDUCTION) {
    const guess = text.guesses[i]!;
    const right = guessedRight(text, i);
    const said = quote(text.labels[text.tokens.indexOf(guess)]!);
    line += `; guess ${said}${right === undefined ? "" : right ? ": right ✓" : ": wrong ✗"}`;
  }
  return line;
}

function saySeen({ token, weight, places, back }: Seen, text: Attended, i: number): string {
  const name = token === text.tokens[i] && places === 1 && back === 0 ? "itself" : quote(text.labels[i - back]!);
  const where = places > 1 ? ` (${number(places)} places)` : back === 0 ? "" : ` (${back} back)`;
  return `${name} ${percent(weight)}${where}`;
}

/** How well the induction head guesses, in numbers. */
export function overall(text: Attended, width: number, paint: Paint): string[] {
  const length = text.tokens.length;
  const score = scoreOf(text, 0, length);
  if (score.possible === 0) return wrap("One token: there is no next one to guess.", width);
  const silent = score.possible - score.made;
  const others = silent === 1 ? "the other token" : `the other ${number(silent)} tokens`;
  const silence = silent === 0 ? "" : ` At ${others} it had seen nothing like it and said nothing.`;
  const verdict =
    score.made === 0
      ? `The induction head never met a token again in ${count(score.possible, "token")}, so it never made a guess.`
      : `The induction head's guess of the next token is right ${count(score.right, "time")} of ` +
        `${number(score.made)}: ${percent(score.right / score.made)}.${silence}`;
  const lines = wrap(verdict, width);
  if (length >= 400) {
    lines.push("");
    const shares = ["first", "second", "third", "last"].map((_, part) => {
      const { made, right } = scoreOf(text, Math.round((part * length) / 4), Math.round(((part + 1) * length) / 4));
      return made > 0 ? right / made : 0;
    });
    const longest = Math.max(...shares, 1e-9);
    shares.forEach((share, part) => {
      const name = padTo(`${["first", "second", "third", "last"][part]!} quarter`, 15);
      lines.push(`  ${name} ${percent(share).padStart(6)} ${bar(share / longest, width - 26, paint)}`);
    });
    lines.push("");
  }
  const commonest = commonestTokenRight(text.tokens);
  const share = (right: number): string => percent(right / score.possible);
  const compare =
    `Naming the commonest token so far, every time, would be right at ${share(commonest)} of the ` +
    `${count(score.possible, "token")}; this head, silence counted as wrong, at ${share(score.right)}.`;
  const check =
    "As a check, the previous-token head's output is the code of the token before, to 0.001, " +
    `${number(previousTokenRight(text))} of ${count(length - 1, "time")}.`;
  return [...lines, ...wrap(compare, width), ...wrap(check, width)];
}

/** On how many threads the call ran, and why on one where more were asked for. */
function threadsOf({ threads, threadsReason }: Run): string {
  const given = threads === 1 ? "one thread" : count(threads, "thread");
  return threadsReason === undefined ? given : `${given} (${threadsReason})`;
}

/** Time, speed and the memory that was not needed, in a sentence. */
export function inOneCall(length: number, run: Run): string {
  const seconds = run.warm ?? run.first;
  const speed = (flopOf(length, HEAD_DIM) / seconds / 1e9).toPrecision(3);
  const scores = amount(4 * HEADS.length * length * length, "B");
  return `One call, ${time(seconds)}: ${speed} GFLOP/s on ${threadsOf(run)}, without the ${scores} of scores.`;
}

/** What half precision gained, and what it cost. */
function precisionOf({ half }: Run, seconds: number): [string, string][] {
  if (!half) return [];
  const gain = (half.seconds / seconds).toPrecision(3);
  const difference = half.difference.toExponential(1);
  return [["precision", `half: ${gain} times as fast as full, no value further than ${difference} from it`]];
}

/** The call as one would write it, its time, speed and memory. */
export function theCall(length: number, run: Run, width: number, paint: Paint): string[] {
  const flop = flopOf(length, HEAD_DIM);
  const seconds = run.warm ?? run.first;
  const rows = (4 * length * HEAD_DIM + length) * HEADS.length * 4;
  const timing = run.warm === undefined ? "the only call" : `the first call, warm-up included: ${time(run.first)}`;
  const facts: [string, string][] = [
    ["work", `${HEADS.length} heads × ${count(length, "query", "queries")}, causal: ${amount(flop, "FLOP")}`],
    ["time", `${time(seconds)} (${timing})`],
    ["speed", `${(flop / seconds / 1e9).toPrecision(3)} GFLOP/s on ${threadsOf(run)}, variant "${run.variant}"`],
    ...precisionOf(run, seconds),
    [
      "memory",
      `${amount(run.memory.peak, "B")} at the peak: q, k, v, out and lse, and ` +
        `${amount(run.memory.peak - rows, "B")} besides`,
    ],
    [
      "never made",
      `the ${HEADS.length} × ${number(length)} × ${number(length)} scores: ` +
        amount(4 * HEADS.length * length * length, "B"),
    ],
  ];
  const code = [
    "const { out, lse } = heed.attention(q, k, v, {",
    `  numHeads: ${HEADS.length}, headDim: ${HEAD_DIM}, scale: 1, causal: true,`,
    "  alibiSlopes, sinks, lse: true,",
    "});",
  ];
  return [
    ...listing(code, width, paint),
    "",
    ...facts.flatMap(([name, fact]) => labelled(name, 12, fact, width, { dim: true }, paint)),
  ];
}

/** The same text token by token through a KV cache, beside the one call. */
export function tokenByToken(length: number, run: Run, width: number, paint: Paint): string[] {
  const { tokens, seconds, cacheBytes, difference } = run.replayed;
  const some = tokens < length ? `the first ${number(tokens)} tokens` : count(tokens, "token");
  const facts: [string, string][] = [
    ["output", `that of the one call, to ${difference.toPrecision(1)} at the most, over ${some}`],
    ["time", `${time(seconds)}, ${time(seconds / tokens)} a token; the one call ${time(run.warm ?? run.first)}`],
    ["cache", `${amount(cacheBytes, "B")}, read where it stands and never copied`],
  ];
  return [
    ...listing(["cache.append(k, v); // for each token", "const { out } = cache.attention(q, options);"], width, paint),
    "",
    ...facts.flatMap(([name, fact]) => labelled(name, 12, fact, width, { dim: true }, paint)),
  ];
}

/** Lines of a program. What is too long goes on below, indented. */
function listing(lines: string[], width: number, paint: Paint): string[] {
  const fitted = lines.flatMap((line) =>
    line.length <= width ? [line] : wrap(line.trim(), width - 4).map((part, nth) => (nth > 0 ? "    " : "  ") + part),
  );
  return fitted.map((line) => paint(line, { fg: HEAD_COLOURS[PREVIOUS] }));
}

/** `name` in a column of its own, `indent` wide, and beside it the text. */
function labelled(name: string, indent: number, text: string, width: number, style: Style, paint: Paint): string[] {
  return wrap(text, width - indent).map((line, nth) =>
    nth === 0 ? paint(padTo(name, indent), style) + line : " ".repeat(indent) + line,
  );
}

function bar(share: number, width: number, paint: Paint): string {
  return paint("█".repeat(Math.max(0, Math.round(share * width))), { fg: HEAD_COLOURS[INDUCTION] });
}
