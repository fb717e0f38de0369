// Two tiers of tests. `npm test` takes a part of every wide sweep, `npm run test:sweeps` the whole width, and `npm run
// test:full` both. What is left out of the quick tier stands inside: between the boundaries of lanes, tiles and pages,
// or further down the same seeded list of random problems. Every test runs in both tiers, on every build.

/** Whether sweeps are in full: the project "sweeps" of vitest.config.ts says so. */
export const isFull = process.env["HEED_FULL"] === "1";

/** How many runs a property has: all of `full`, or the first fifth of the same problems, since the seed is the same. */
export function runs(full: number): number {
  // Of half a run fast-check makes runs without end.
  full = Math.ceil(full);
  return isFull ? full : Math.min(full, Math.max(15, Math.ceil(full / 5)));
}

/** All values, or those of them for which `isKept`. */
export function thinned<T>(values: readonly T[], isKept: (value: T, index: number) => boolean): T[] {
  return isFull ? [...values] : values.filter(isKept);
}

/** All of [first, last], or the smallest, the largest, and those at most 1 from a boundary. */
export function range(first: number, last: number, boundaries: readonly number[]): number[] {
  const all = Array.from({ length: last - first + 1 }, (_, n) => first + n);
  return thinned(all, (n) => n === first || n === last || boundaries.some((edge) => Math.abs(n - edge) <= 1));
}

/**
 * Whether a cell of a table of cases is taken: all are, or the first row, the first column and a diagonal, so that each
 * row and each column occurs alone and in one combination with others.
 */
export function isCrossed(row: number, column: number, columns: number): boolean {
  return isFull || row === 0 || column === 0 || row % columns === column;
}
