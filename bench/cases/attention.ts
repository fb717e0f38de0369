// The race over the attention shapes: every peer, checked and timed, beside the limit of the machine.
import { check } from "../harness/check.ts";
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
  const skipped: string[] = [];
  for (const peer of peers) {
    say(`preparing ${peer.name}`);
    try {
      entrants.push(...(await peer.prepare(problem)));
    } catch (error) {
      skipped.push(`${peer.name} skipped: ${messageOf(error)}`);
    }
  }
  const judge = (out: Float32Array) => ({ error: maxError(out, reference), atMost: reference.tolerance });
  const { right, errors, skipped: wrong } = await check(entrants, judge, say);
  const timings = await measure([...right, limit], effort, say);
  for (const entrant of entrants) await entrant.dispose?.();
  return resultOf(shape.name, { flops: flops(problem), limitFlops: LIMIT_FLOPS }, timings, errors, [
    ...skipped,
    ...wrong,
  ]);
}
