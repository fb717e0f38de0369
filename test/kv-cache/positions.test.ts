// Positions of the tokens of a cache with rotary embedding: those of `append`, those that follow, and what `keep` leaves.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { forEachBuild } from "../support/builds.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { expectRefusal } from "../support/refusal.ts";
import { runs } from "../support/sweep.ts";

const ints = (...numbers: number[]) => Int32Array.from(numbers);
const dims = { numKvHeads: 2, headDim: 12, valueDim: 5 };
const [numHeads, kRow, vRow] = [4, 24, 10];

/** The tokens of a cache as plain rows, with the position of each: k is turned by `heed.rotary`. */
class Plain {
  k: Float32Array[][] = [];
  v: Float32Array[][] = [];
  positions: number[][] = [];
  readonly heed: Heed;
  readonly first: number;
  readonly rotary: object;

  constructor(heed: Heed, batch: number, first: number, rotary: object) {
    this.heed = heed;
    this.first = first;
    this.rotary = rotary;
    for (let b = 0; b < batch; b++) for (const rows of [this.k, this.v, this.positions]) rows.push([]);
  }

  next(b: number): number {
    return (this.positions[b]!.at(-1) ?? this.first - 1) + 1;
  }

  append(k: Float32Array, v: Float32Array, newTokens: number, lengths: Int32Array, given?: Int32Array): void {
    this.positions.forEach((positions, b) => {
      for (let n = 0; n < lengths[b]!; n++) {
        const at = b * newTokens + n;
        const position = given?.[given.length > newTokens ? at : n] ?? this.next(b);
        const row = k.slice(at * kRow, (at + 1) * kRow);
        const options = { ...this.rotary, numHeads: 2, headDim: 12, positions: position };
        this.k[b]!.push(this.heed.rotary(row, options).out);
        this.v[b]!.push(v.slice(at * vRow, (at + 1) * vRow));
        positions.push(position);
      }
    });
  }

  each(change: <T>(rows: T[], b: number) => T[]): void {
    this.k = this.k.map(change);
    this.v = this.v.map(change);
    this.positions = this.positions.map(change);
  }

  /** The position of a query that stands at token `token`. */
  positionAt(b: number, token: number): number {
    const positions = this.positions[b]!;
    if (positions.length === 0) return this.first + token;
    const nearest = Math.min(Math.max(token, 0), positions.length - 1);
    return positions[nearest]! + token - nearest;
  }

  /** Causal attention of `q`, [batch, seqLenQ, numHeads, headDim], with the last query at the last token. */
  attention(q: Float32Array, seqLenQ: number): Float32Array {
    const qRow = numHeads * 12;
    const outs = this.positions.map((positions, b) => {
      const at = (n: number) => this.positionAt(b, positions.length - seqLenQ + n);
      const rows = q.slice(b * seqLenQ * qRow, (b + 1) * seqLenQ * qRow);
      const turned = this.heed.rotary(rows, {
        ...this.rotary,
        numHeads,
        headDim: 12,
        positions: Int32Array.from({ length: seqLenQ }, (_, n) => at(n)),
      }).out;
      const join = (parts: Float32Array[], row: number) => {
        const all = new Float32Array(parts.length * row);
        parts.forEach((part, n) => all.set(part, n * row));
        return all;
      };
      const options = { numHeads, ...dims, causal: true };
      return this.heed.attention(turned, join(this.k[b]!, kRow), join(this.v[b]!, vRow), options).out;
    });
    return Float32Array.from(outs.flatMap((out) => [...out]));
  }
}

forEachBuild((name, open) => {
  const heed = open();
  const tableOf = (seed: number) => floats(700 * 5, uniform(seed));

  it("has the bits of plain rows at the same positions, whatever was done", () => {
    const property = fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 3 }),
      fc.constantFrom("base", "interleaved", "tables"),
      fc.array(fc.constantFrom("append", "given", "shared", "keep", "truncate", "reorder", "fork", "restore"), {
        minLength: 2,
        maxLength: 9,
      }),
      (seed, batch, form, steps) => {
        const next = uniform(seed);
        const isTables = form === "tables";
        const rotary = isTables
          ? { cos: tableOf(1), sin: tableOf(2), rotaryDim: 10 }
          : { base: 500, interleaved: form === "interleaved" };
        const firstPosition = integer(0, 1, next) * (isTables ? 20 : -70);
        const { used } = heed.memory;
        let cache = heed.createKvCache({ ...dims, batch, capacity: 600, rotary, firstPosition });
        const plain = new Plain(heed, batch, firstPosition, rotary);
        for (const step of steps) {
          if (step === "keep") {
            const lists = plain.positions.map(({ length }) =>
              Int32Array.from(Array.from({ length }, (_, n) => n).filter(() => next() < 0.7)),
            );
            cache.keep(lists);
            plain.each((rows, b) => Array.from(lists[b]!, (n) => rows[n]!));
          } else if (step === "truncate") {
            const lengths = Int32Array.from(cache.lengths, (length) => integer(0, length, next));
            cache.truncate(lengths);
            plain.each((rows, b) => rows.slice(0, lengths[b]));
          } else if (step === "reorder") {
            const indices = Int32Array.from({ length: batch }, () => integer(0, batch - 1, next));
            cache.reorder(indices);
            const { k, v, positions } = plain;
            plain.k = Array.from(indices, (b) => k[b]!.slice());
            plain.v = Array.from(indices, (b) => v[b]!.slice());
            plain.positions = Array.from(indices, (b) => positions[b]!.slice());
          } else if (step === "fork" || step === "restore") {
            const copy = step === "fork" ? cache.fork() : heed.restoreKvCache(cache.save());
            cache.append(floats(batch * kRow, next), floats(batch * vRow, next), {
              positions: Int32Array.of(isTables ? 650 : 12345),
            });
            cache.dispose();
            cache = copy;
          } else {
            const newTokens = [1, 3, 30][integer(0, 2, next)]!;
            const [k, v] = [floats(batch * newTokens * kRow, next), floats(batch * newTokens * vRow, next)];
            const lengths = Int32Array.from({ length: batch }, () => integer(0, newTokens, next));
            const range = isTables ? ([0, 400] as const) : ([-(2 ** 29), 2 ** 29] as const);
            const of = (count: number) =>
              next() < 0.5
                ? Int32Array.from({ length: count }, () => integer(...range, next))
                : Int32Array.from({ length: count }, (_, n) => 40 + Math.floor(n / 2));
            const positions = step === "given" ? of(batch * newTokens) : step === "shared" ? of(newTokens) : undefined;
            cache.append(k, v, { lengths, positions });
            plain.append(k, v, newTokens, lengths, positions);
          }
          expect(cache.nextPositions).toEqual(Int32Array.from(plain.positions, (_, b) => plain.next(b)));
          const seqLenQ = [1, 3][integer(0, 1, next)]!;
          if (Math.min(...cache.lengths) < seqLenQ) continue;
          const q = floats(batch * seqLenQ * numHeads * 12, next);
          const { out } = cache.attention(q, { numHeads, causal: true });
          expect(out).toEqual(plain.attention(q, seqLenQ));
        }
        cache.dispose();
        expect(heed.memory.used).toBe(used);
      },
    );
    fc.assert(property, { seed: 20261128, numRuns: runs(name === "debug" ? 15 : 60) });
  });

  describe("refuses a position without angles, and leaves the cache as it was", () => {
    it.each<[string, object, number, object]>([
      ["given", { cos: tableOf(1), sin: tableOf(2), rotaryDim: 10 }, 0, { positions: ints(3, 700) }],
      ["given below 0", { cos: tableOf(1), sin: tableOf(2), rotaryDim: 10 }, 0, { positions: ints(-1, 0) }],
    ])("%s", (_, rotary, firstPosition, options) => {
      using cache = heed.createKvCache({ ...dims, capacity: 500, rotary, firstPosition });
      cache.append(floats(3 * kRow, uniform(1)), floats(3 * vRow, uniform(2)));
      const state = () => [cache.save(), cache.nextPositions, heed.memory.used];
      const before = state();
      expectRefusal(RangeError, "positions", () =>
        cache.append(new Float32Array(2 * kRow), new Float32Array(2 * vRow), options),
      );
      expect(state()).toEqual(before);
    });

    it("that would follow", () => {
      const rotary = { cos: tableOf(1), sin: tableOf(2), rotaryDim: 10 };
      using cache = heed.createKvCache({ ...dims, capacity: 500, rotary });
      cache.append(new Float32Array(kRow), new Float32Array(vRow), { positions: ints(699) });
      expectRefusal(RangeError, "positions", () => cache.append(new Float32Array(kRow), new Float32Array(vRow)));
      expect([cache.length, cache.nextPositions[0]]).toEqual([1, 700]);
      expectRefusal(RangeError, "rotary.cos", () =>
        heed.createKvCache({ ...dims, capacity: 500, rotary, firstPosition: 201 }),
      );
      expectRefusal(RangeError, "firstPosition", () =>
        heed.createKvCache({ ...dims, capacity: 5, rotary, firstPosition: -1 }),
      );
    });
  });

  it("reach a layer that rotates itself: after keep and with positions of a call", () => {
    const square = (seed: number) => ({ weight: floats(24 * 24, uniform(seed)) });
    const weights = { q: square(1), k: square(2), v: square(3), out: square(4) };
    const layer = heed.createMultiHeadAttention({ embedDim: 24, numHeads: 2, weights, rotary: {}, causal: true });
    const x = floats(6 * 24, uniform(5));
    const row = (n: number, end = n + 1) => x.slice(n * 24, end * 24);
    using cache = layer.createCache({ capacity: 50 });
    layer.forward(row(0, 4), { cache });
    cache.keep(ints(0, 2));
    const kept = layer.forward(row(4), { cache }).out; // Behind the token at position 2.
    expect(cache.nextPositions).toEqual(ints(4));

    using other = layer.createCache({ capacity: 50 });
    layer.forward(row(0), { cache: other });
    // Without the causal rows between them the tokens are the same, as is what q at position 3 sees.
    layer.forward(row(2), { cache: other, positions: 2 });
    expect(other.nextPositions).toEqual(ints(3));
    expect(layer.forward(row(4), { cache: other }).out).toEqual(kept);
    layer.dispose();
  });
});
