// Where tokens stand, and which of them a row sees, against what one finds by looking at each token.
import fc from "fast-check";
import { expect, it } from "vitest";
import { causalRuns, localLength, positionOf, stretches } from "../../bindings/shard/geometry.ts";

const cuts = fc
  .record({ places: fc.integer({ min: 1, max: 6 }), pageTokens: fc.integer({ min: 1, max: 5 }), draw: fc.nat() })
  .map(({ places, pageTokens, draw }) => ({ places, pageTokens, place: draw % places }));

/** The positions of the first `length` tokens that stand at a place. */
const positionsAt = (
  { place, places, pageTokens }: { place: number; places: number; pageTokens: number },
  length: number,
) =>
  Array.from({ length }, (_, position) => position).filter(
    (position) => Math.floor(position / pageTokens) % places === place,
  );

it("page p stands at place p % places", () => {
  const property = fc.property(cuts, fc.nat(200), (cut, length) => {
    const positions = positionsAt(cut, length);
    expect(localLength(cut, length)).toBe(positions.length);
    expect(positions.map((_, at) => positionOf(cut, at))).toEqual(positions);
    expect(localLength(cut, -length)).toBe(0);
  });
  fc.assert(property, { seed: 1 });
});

it("stretches are the tokens in order, each in one page", () => {
  const property = fc.property(cuts, fc.nat(60), fc.nat(60), (cut, from, count) => {
    const found = stretches(cut, from, from + count);
    const tokens = found.flatMap(({ from: first, to, place }) => {
      const here = Array.from({ length: to - first }, (_, n) => first + n);
      expect(positionsAt({ ...cut, place }, to)).toEqual(expect.arrayContaining(here));
      return here;
    });
    expect(tokens).toEqual(Array.from({ length: count }, (_, n) => from + n));
  });
  fc.assert(property, { seed: 2 });
});

it("runs of rows see the tokens up to their own position", () => {
  const property = fc.property(
    cuts,
    fc.nat(80),
    fc.integer({ min: -20, max: 100 }),
    fc.nat(40),
    (cut, length, offset, rows) => {
      const positions = positionsAt(cut, length);
      const seen = causalRuns(cut, positions.length, offset, rows).flatMap(({ from, to, sees, count }) =>
        Array.from({ length: to - from }, (_, n) => {
          const last = { all: positions.length, first: count, causal: count + n }[sees];
          return { row: from + n, sees: positions.slice(0, last) };
        }),
      );
      const expected = Array.from({ length: rows }, (_, row) => ({
        row,
        sees: positions.filter((position) => position <= offset + row),
      }));
      expect(seen).toEqual(expected);
    },
  );
  fc.assert(property, { seed: 3, numRuns: 500 });
});
