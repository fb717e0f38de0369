import type { Contender } from "../harness/entrant.ts";
import type { Problem } from "../harness/problem.ts";

export interface Peer {
  name: string;
  version: string;
  /** The ways in which the peer can compute the problem, inputs in place; none where it cannot. */
  prepare(problem: Problem): Promise<Contender[]> | Contender[];
}
