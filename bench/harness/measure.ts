import { type Entrant, labelOf } from "./entrant.ts";

export interface Timing {
  name: string;
  form: string;
  kind: Entrant["kind"];
  calls: number;
  /** Milliseconds a call. */
  median: number;
  best: number;
}

export interface Effort {
  /** Milliseconds of calls before the timing of each entrant; V8's optimising tier needs about 50. */
  warmUp: number;
  /** Milliseconds of timed calls for each entrant. An entrant slower than that is called once. */
  budget: number;
  /** An entrant's turn in a round: one call, or as many as fit these milliseconds. */
  turn: number;
}

export const FULL: Effort = { warmUp: 150, budget: 1500, turn: 20 };
export const QUICK: Effort = { warmUp: 60, budget: 250, turn: 10 };

/** A form this much slower than another of its peer is not worth timing: in its first call, then in the warm-up. */
const HOPELESS_COLD = 4;
const HOPELESS = 1.3;

/**
 * Warms every entrant up, then times them in turns, so that noise and a changing clock hit all alike. Of the forms of a
 * peer the one with the lowest median is reported. An entrant whose first call took longer than all its turns is not
 * called again.
 */
export async function measure(
  entrants: readonly Entrant[],
  effort: Effort,
  progress: (text: string) => void,
): Promise<Timing[]> {
  const samples = new Map<Entrant, number[]>();
  const warm = new Map<Entrant, number>();
  const cold = (entrant: Entrant): number => entrant.firstCall ?? 0;
  // Short first calls say little: they are mostly compilation.
  const atLeastBudget = (entrant: Entrant): number => Math.max(cold(entrant), effort.budget);
  for (const entrant of withoutSlowForms(entrants, atLeastBudget, HOPELESS_COLD)) {
    progress(`warming up ${labelOf(entrant)}`);
    const isSlow = cold(entrant) > 2 * effort.budget;
    samples.set(entrant, isSlow ? [cold(entrant)] : []);
    warm.set(entrant, isSlow ? cold(entrant) : least(await runFor(entrant, effort.warmUp)));
  }
  const racing = withoutSlowForms([...warm.keys()], (entrant) => warm.get(entrant)!, HOPELESS);

  for (let round = 0; ; round++) {
    const waiting = racing.filter((entrant) => sum(samples.get(entrant)!) < effort.budget);
    if (waiting.length === 0) break;
    for (const entrant of round % 2 === 0 ? waiting : waiting.reverse()) {
      progress(`round ${round + 1}, ${labelOf(entrant)}`);
      samples.get(entrant)!.push(...(await runFor(entrant, effort.turn)));
    }
  }
  return bestForms(racing.map((entrant) => summarise(entrant, samples.get(entrant)!)));
}

/** The entrants that take at most `factor` times as long as the fastest of the same name. */
function withoutSlowForms(
  entrants: readonly Entrant[],
  timeOf: (entrant: Entrant) => number,
  factor: number,
): Entrant[] {
  return entrants.filter((entrant) => {
    const forms = entrants.filter(({ name }) => name === entrant.name);
    return timeOf(entrant) <= factor * Math.min(...forms.map(timeOf));
  });
}

/** Milliseconds of each call; at least one call, no new one once `duration` has passed. */
export async function runFor(entrant: Pick<Entrant, "run" | "turn">, duration: number): Promise<number[]> {
  if (entrant.turn) return entrant.turn(duration);
  const samples: number[] = [];
  const end = performance.now() + duration;
  for (let now = performance.now(); samples.length === 0 || now < end;) {
    const start = now;
    const result = entrant.run();
    if (result instanceof Promise) await result;
    now = performance.now();
    samples.push(now - start);
  }
  return samples;
}

function summarise({ name, form, kind }: Entrant, samples: number[]): Timing {
  return { name, form, kind, calls: samples.length, median: median(samples), best: least(samples) };
}

/** The timings with only the fastest form of each name, in the order of first appearance. */
export function bestForms(timings: readonly Timing[]): Timing[] {
  const best = new Map<string, Timing>();
  for (const timing of timings) {
    const other = best.get(timing.name);
    if (!other || timing.median < other.median) best.set(timing.name, timing);
  }
  return [...best.values()];
}

/** Math.min for any number of values. */
function least(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
