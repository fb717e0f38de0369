import { type Contender, labelOf } from "./entrant.ts";
import { messageOf } from "./report.ts";

/** Contenders that compute what they should, and why the others do not race. */
export interface Checked<One extends Contender> {
  right: One[];
  /** The largest error of each name. */
  errors: Map<string, number>;
  skipped: string[];
}

/**
 * Runs every contender once, which is its first call, and compares the result.
 *
 * @param judge the largest error of a result, and how large it may be
 */
export async function check<One extends Contender>(
  contenders: readonly One[],
  judge: (out: Float32Array, contender: One) => { error: number; atMost: number },
  say: (text: string) => void,
): Promise<Checked<One>> {
  const checked: Checked<One> = { right: [], errors: new Map(), skipped: [] };
  for (const contender of contenders) {
    say(`checking ${labelOf(contender)}`);
    try {
      const start = performance.now();
      const out = await contender.result();
      contender.firstCall = performance.now() - start;
      const { error, atMost } = judge(out, contender);
      if (!(error <= atMost)) {
        throw new Error(`wrong by ${error.toExponential(1)}, at most ${atMost.toExponential(1)} expected`);
      }
      checked.errors.set(contender.name, Math.max(error, checked.errors.get(contender.name) ?? 0));
      checked.right.push(contender);
    } catch (error) {
      checked.skipped.push(`${labelOf(contender)} skipped: ${messageOf(error)}`);
    }
  }
  return checked;
}
