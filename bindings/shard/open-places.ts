// How a coordinator takes its places over.
import { localLength, positionOf } from "./geometry.ts";
import type { ShardAnswer, ShardState } from "./messages.ts";
import type { Place } from "./place.ts";

/** What opening the places told. */
export interface Opened {
  writer: number;
  length: number;
  version: number;
}

/**
 * Makes every place this coordinator's, and finds out which tokens they all have.
 *
 * @throws ShardError
 */
export async function openPlaces(places: readonly Place[]): Promise<Opened> {
  // Later coordinators have larger numbers, also where two start in the same millisecond.
  let writer = Date.now() * 1024 + Math.floor(Math.random() * 1024);
  let states: ShardState[];
  let answers: ShardAnswer[];
  for (;;) {
    const opening = { op: "open", writer } as const;
    answers = await all(places.map((place) => place.ask({ ...opening, shape: place.shape })));
    states = answers.map(({ state }) => state!);
    if (answers.every(({ ok }) => ok)) break;
    writer = Math.max(...states.map((state) => state.writer)) + 1;
  }
  // The last change says between which lengths the cache is: the second, if all places have it, else the first.
  const last = states.reduce((a, b) => (b.version > a.version ? b : a));
  const reach = states.map((state, n) => positionOf(places[n]!.shape, state.length));
  const length = Math.min(...reach) >= last.after ? last.after : last.before;
  places.forEach((place, n) => {
    const expected = localLength(place.shape, length);
    const state = states[n]!;
    if (state.length < expected) throw place.lost(state.length, expected);
    // Every place had been opened before the last change: one that has never been has lost what it had of that.
    const answer = answers[n]!;
    const meant = localLength(place.shape, last.after);
    if (answer.ok && answer.isNew && meant > 0) throw place.lost(0, meant);
    place.version = state.version;
    place.isSettled = state.length === expected;
  });
  return { writer, length, version: last.version };
}

/** The results of all tasks once all have ended; else the first error in the order of the places. */
export async function all<Result>(tasks: readonly Promise<Result>[]): Promise<Result[]> {
  const settled = await Promise.allSettled(tasks);
  return settled.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}
