// The race over several threads: heed beside onnxruntime-web and onnxruntime-node with as many, in turns.
import type { Heed } from "heed";
import { check } from "../harness/check.ts";
import type { Contender, Entrant } from "../harness/entrant.ts";
import { makeLinearProblem } from "../harness/layer-problems.ts";
import { LIMIT_FLOPS, type Spinner, makeLimit } from "../harness/limit.ts";
import { type Effort, measure } from "../harness/measure.ts";
import { flops, makeProblem } from "../harness/problem.ts";
import { makeReference, maxError } from "../harness/reference.ts";
import { messageOf } from "../harness/report.ts";
import { STREAM_BYTES, makeStream } from "../harness/stream.ts";
import { loadBuilds } from "../peers/heed.ts";
import { attentionContenders, decodeContender, linearContenders } from "../peers/heed-contenders.ts";
import { Remote } from "../peers/remote.ts";
import { type Beside, startBeside } from "./beside.ts";
import { bytesOf } from "./decode.ts";
import { linearRace } from "./linear-race.ts";
import { errorAt } from "./race.ts";
import type { ThreadCase } from "./shapes.ts";
import { type ThreadResult, threadResult } from "./threads-report.ts";

/** Everyone, with each number of threads. */
export interface Field {
  /** Numbers of threads, 1 first. */
  threads: readonly number[];
  builds: Heed[];
  remotes: { remote: Remote; name: string; threads: number }[];
  limits: { threads: number; limit: Spinner; stream: Spinner }[];
  skipped: string[];
}

/** Starts everyone whose name `isMeant` says yes to. */
export async function openField(threads: readonly number[], isMeant: (name: string) => boolean): Promise<Field> {
  const field: Field = { threads, builds: [], remotes: [], limits: [], skipped: [] };
  for (const count of threads) {
    const { builds, skipped } = await loadBuilds(count);
    for (const heed of builds) {
      if (isMeant(`heed ${heed.variant}`)) field.builds.push(heed);
      else heed.dispose();
    }
    field.skipped.push(...skipped);
    for (const runtime of ["web", "node"] as const) {
      const name = `onnxruntime-${runtime}`;
      if (!isMeant(name)) continue;
      try {
        field.remotes.push({ remote: await Remote.start(runtime, count), name, threads: count });
      } catch (error) {
        field.skipped.push(`${name}, ${count} threads, skipped: ${messageOf(error)}`);
      }
    }
    field.limits.push({
      threads: count,
      limit: await makeLimit({ threads: count }),
      stream: await makeStream(count),
    });
  }
  return field;
}

export function closeField({ builds, remotes, limits }: Field): void {
  for (const heed of builds) heed.dispose();
  for (const { remote } of remotes) remote.end();
  for (const { limit, stream } of limits) [limit, stream].forEach((spinner) => spinner.dispose());
}

/** Prepares everyone, checks each form against f64, and times those that are right. */
export async function raceThreads(
  one: ThreadCase,
  field: Field,
  effort: Effort,
  say: (text: string) => void,
): Promise<{ result: ThreadResult; skipped: string[] }> {
  say("inputs and f64 reference");
  const opened = await open(one);
  // By its name measure tells who is who, and which forms belong together.
  const marked = new Map<string, { name: string; threads: number; isBeside?: boolean }>();
  const mark = (contender: Contender, name: string, threads: number): Contender => {
    const key = `${name}, ${threads}`;
    marked.set(key, { name, threads });
    return { ...contender, name: key };
  };
  const contenders = field.builds.flatMap((heed) =>
    contendersOf(heed, one).map((contender) => mark(contender, contender.name, heed.threads)),
  );
  const skipped: string[] = [];
  for (const { remote, name, threads } of field.remotes) {
    say(`preparing ${name} with ${threads} threads`);
    try {
      contenders.push(...(await remote.open(one.work)).map((contender) => mark(contender, name, threads)));
    } catch (error) {
      skipped.push(`${name}, ${threads} threads, skipped: ${messageOf(error)}`);
    }
  }
  const { right, errors, skipped: wrong } = await check(contenders, opened.judge, say);
  const isDecode = one.kind === "decode";
  const spinners = field.limits.map(({ limit, stream }) => (isDecode ? stream : limit));
  const beside = await besideOf(one, field, contenders, right, marked, say);
  const timings = await measure([...right, ...beside.entrants, ...spinners], effort, say);
  for (const contender of contenders) contender.dispose?.();
  beside.end();
  const limits = field.limits.map(({ threads }, n) => {
    const { median } = timings.find(({ name }) => name === spinners[n]!.name)!;
    const whole = isDecode ? STREAM_BYTES : threads * LIMIT_FLOPS;
    return { name: isDecode ? "streaming read" : `limit by ${spinners[n]!.form}`, threads, rate: whole / median / 1e6 };
  });
  const measured = timings.flatMap((timing) => {
    const who = marked.get(timing.name);
    return who ? [{ ...timing, ...who }] : [];
  });
  return { result: threadResult(one, opened.amount, measured, limits, errors), skipped: [...skipped, ...wrong] };
}

/** The calls of one thread, made by several instances at once; each is marked with the name of the call. */
async function besideOf(
  one: ThreadCase,
  { builds, threads }: Field,
  contenders: readonly Contender[],
  right: readonly Contender[],
  marked: Map<string, { name: string; threads: number; isBeside?: boolean }>,
  say: (text: string) => void,
): Promise<{ entrants: Entrant[]; end(): void }> {
  const entrants: Entrant[] = [];
  const started: Beside[] = [];
  for (const { variant } of builds.filter((heed) => heed.threads === 1)) {
    for (const count of threads.filter((count) => count > 1)) {
      say(`${count} instances of heed ${variant} side by side`);
      const beside = await startBeside(variant, one, count - 1);
      started.push(beside);
      const own = contenders.filter(({ name, kind }) => {
        const who = marked.get(name);
        return kind === "heed" && who?.threads === 1 && who.name.startsWith(`heed ${variant}`);
      });
      own.forEach((contender, which) => {
        if (!right.some(({ name }) => name === contender.name)) return;
        const { name } = marked.get(contender.name)!;
        const key = `${name}, ${count} side by side`;
        marked.set(key, { name, threads: count, isBeside: true });
        const run = (): void => beside.run(which, () => contender.run());
        entrants.push({ name: key, form: "", kind: "limit", run });
      });
    }
  }
  return { entrants, end: () => started.forEach((beside) => beside.end()) };
}

/** heed's ways to compute a case. */
export function contendersOf(heed: Heed, { kind, work }: ThreadCase): Contender[] {
  if ("product" in work) return linearContenders(heed, makeLinearProblem(work.product));
  const problem = makeProblem(work.shape);
  if (kind === "attention") return attentionContenders(heed, problem);
  return [{ ...decodeContender(heed, problem, "f32"), name: `heed ${heed.variant}` }];
}

/** The inputs of a case: what one call counts, and how a result is judged. */
async function open({ kind, work }: ThreadCase): Promise<{
  amount: number;
  judge: (out: Float32Array) => { error: number; atMost: number };
}> {
  if ("product" in work) {
    const { flops: amount, exact, tolerance } = await linearRace([], [], work.product);
    return { amount, judge: (out) => ({ error: errorAt(exact, out), atMost: tolerance }) };
  }
  const problem = makeProblem(work.shape);
  const reference = makeReference(problem);
  const judge = (out: Float32Array) => ({ error: maxError(out, reference), atMost: reference.tolerance });
  return { amount: kind === "attention" ? flops(problem) : bytesOf(problem), judge };
}
