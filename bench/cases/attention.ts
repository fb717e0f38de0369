// The race over the attention shapes: every peer, checked and timed, beside the limit of the machine.
import type { Contender, Entrant } from "../harness/entrant.ts";
import { LIMIT_FLOPS } from "../harness/limit.ts";
import { type Effort, measure } from "../harness/measure.ts";
import { type Shape, flops, makeProblem } from "../harness/problem.ts";
import { makeReference, maxError } from "../harness/reference.ts";
import { messageOf } from "../harness/report.ts";
import type { Peer } from "../peers/peer.ts";
import { type ShapeResult, resultOf } from "./attention-report.ts";

/** Prepares every peer, checks each form against f64, and times those that are right. */
export async function raceShape(
  shape: Shape,
  peers: readonly Peer[],
  limit: Entrant,
  effort: Effort,
  say: (text: string) => void,
): Promise<ShapeResult> {
  say("inputs and f64 reference");
  const problem = makeProblem(shape);
  const reference = makeReference(problem);
  const entrants: Contender[] = [];
  const errors = new Map<string, number>();
  const skipped: string[] = [];
  for (const peer of peers) {
    say(`preparing ${peer.name}`);
    try {
      entrants.push(...(await peer.prepare(problem)));
    } catch (error) {
      skipped.push(`${peer.name} skipped: ${messageOf(error)}`);
    }
  }
  const right: Contender[] = [];
  for (const entrant of entrants) {
    const label = [entrant.name, entrant.form].filter(Boolean).join(", ");
    say(`checking ${label}`);
    try {
      const start = performance.now();
      const out = await entrant.result();
      entrant.firstCall = performance.now() - start;
      const error = maxError(out, reference);
      if (!(error <= reference.tolerance)) {
        throw new Error(`wrong by ${error.toExponential(1)}, at most ${reference.tolerance.toExponential(1)} expected`);
      }
      errors.set(entrant.name, Math.max(error, errors.get(entrant.name) ?? 0));
      right.push(entrant);
    } catch (error) {
      skipped.push(`${label} skipped: ${messageOf(error)}`);
    }
  }
  const timings = await measure([...right, limit], effort, say);
  for (const entrant of entrants) await entrant.dispose?.();
  return resultOf(shape.name, { flops: flops(problem), limitFlops: LIMIT_FLOPS }, timings, errors, skipped);
}
