// Two entrants that do the same, timed turn by turn, so that both meet the same noise.
import type { Entrant } from "./entrant.ts";
import { median, runFor } from "./measure.ts";

/** Milliseconds a call in one turn. */
export interface Turn {
  best: number;
  median: number;
}

/** A turn of each. */
export interface Round {
  old: Turn;
  new: Turn;
}

/** How many times as fast the new one is: above 1 is faster. */
export interface Speedup {
  /** By the best turn of each, which other programs on the machine disturb least. */
  best: number;
  /** The median over the rounds of their own ratios, in which slow changes of the clock cancel. */
  median: number;
}

/** `rounds` turns of each, of about `turn` milliseconds, in alternation; every other round the new one goes first. */
export async function alternate(
  entrants: { old: Entrant; new: Entrant },
  { rounds, turn }: { rounds: number; turn: number },
): Promise<Round[]> {
  const take = async (which: "old" | "new"): Promise<Turn> => {
    const samples = await runFor(entrants[which], turn);
    return { best: Math.min(...samples), median: median(samples) };
  };
  const all: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const first = round % 2 === 0 ? "old" : "new";
    const [one, other] = [await take(first), await take(first === "old" ? "new" : "old")];
    all.push(first === "old" ? { old: one, new: other } : { old: other, new: one });
  }
  return all;
}

export function speedupOf(rounds: readonly Round[]): Speedup {
  const best = (which: "old" | "new"): number => Math.min(...rounds.map((round) => round[which].best));
  return {
    best: best("old") / best("new"),
    median: median(rounds.map((round) => round.old.median / round.new.median)),
  };
}

/** Whether both estimates say that the new one is slower than `bar` times the old one. Noise rarely deceives both. */
export function isSlower({ best, median }: Speedup, bar: number): boolean {
  return Math.max(best, median) < bar;
}
