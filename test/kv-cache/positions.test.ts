// Positions of the tokens of a cache with rotary embedding: those of `append`, those that follow, and what `keep` leaves.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { RotaryForm } from "../../bindings/rotary/options.ts";
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
  /** Of each sequence and token, on each axis. */
  positions: number[][][] = [];
  readonly heed: Heed;
  readonly first: number;
  readonly rotary: RotaryForm;
  readonly axes: number;

  constructor(heed: Heed, batch: number, first: number, rotary: RotaryForm) {
    this.heed = heed;
    this.first = first;
    this.rotary = rotary;
    this.axes = rotary.sections?.length ?? 1;
    for (let b = 0; b < batch; b++) for (const rows of [this.k, this.v, this.positions]) rows.push([]);
  }

  next(b: number): number {
    return Math.max(...(this.positions[b]!.at(-1) ?? [this.first - 1])) + 1;
  }

  append(k: Float32Array, v: Float32Array, newTokens: number, lengths: Int32Array, given?: Int32Array): void {
    this.positions.forEach((positions, b) => {
      for (let n = 0; n < lengths[b]!; n++) {
        const at = b * newTokens + n;
        const next = this.next(b);
        const axisStride = given ? given.length / this.axes : 0;
        const position = Array.from(
          { length: this.axes },
          (_, axis) => given?.[axis * axisStride + (axisStride > newTokens ? at : n)] ?? next,
        );
        const row = k.slice(at * kRow, (at + 1) * kRow);
        const options = { ...this.rotary, numHeads: 2, headDim: 12, positions: Int32Array.from(position) };
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
  positionAt(b: number, token: number, axis: number): number {
    const positions = this.positions[b]!;
    const nearest = Math.min(Math.max(token, 0), positions.length - 1);
    return positions[nearest]![axis]! + token - nearest;
  }

  /** Causal attention of `q`, [batch, seqLenQ, numHeads, headDim], with the last query at the last token. */
  attention(q: Float32Array, seqLenQ: number): Float32Array {
    const qRow = numHeads * 12;
    const outs = this.positions.map((positions, b) => {
      const at = (n: number) => this.positionAt(b, positions.length - seqLenQ + (n % seqLenQ), Math.floor(n / seqLenQ));
      const rows = q.slice(b * seqLenQ * qRow, (b + 1) * seqLenQ * qRow);
      const turned = this.heed.rotary(rows, {
        ...this.rotary,
        numHeads,
        headDim: 12,
        positions: Int32Array.from({ length: this.axes * seqLenQ }, (_, n) => at(n)),
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
      fc.constantFrom("base", "interleaved", "tables", "sections", "sections of tables"),
      fc.array(fc.constantFrom("append", "given", "shared", "keep", "truncate", "reorder", "fork", "restore"), {
        minLength: 2,
        maxLength: 9,
      }),
      (seed, batch, form, steps) => {
        const next = uniform(seed);
        const isTables = form.endsWith("tables");
        const rotary: RotaryForm = isTables
          ? { cos: tableOf(1), sin: tableOf(2), rotaryDim: 10 }
          : { base: 500, rotaryDim: 10, interleaved: form === "interleaved" };
        if (form.startsWith("sections")) rotary.sections = [1, 2, 2];
        const axes = rotary.sections ? 3 : 1;
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
              positions: new Int32Array(axes).fill(isTables ? 650 : 12345),
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
            const given = { given: axes * batch * newTokens, shared: axes * newTokens, append: 0 }[step];
            const positions = given > 0 ? of(given) : undefined;
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

  describe("keep with repositioned turns K to where the tokens stand now", () => {
    const frequencies = Float64Array.of(1, -0.3, 0.1, 0.01, 0);
    const forms: [string, RotaryForm][] = [
      ["base", { base: 300 }],
      ["interleaved pairs", { rotaryDim: 10, interleaved: true }],
      ["frequencies and a scale", { frequencies, rotaryDim: 10, attentionScale: 1.3 }],
      ["sections", { sections: [3, 1, 2] }],
    ];
    const angles = Float32Array.from({ length: 700 * 6 }, (_, n) => Math.sin(n ** 2));
    const tables = { cos: angles.map((angle) => 2 * Math.cos(angle)), sin: angles.map((angle) => 2 * Math.sin(angle)) };
    forms.push(["tables that scale", tables], ["sections of tables", { ...tables, sections: [2, 4] }]);
    const bounds = { f32: 2e-5, f16: 4e-3, int8: 6e-2 };

    it.each(forms)("%s", (_, rotary) => {
      const next = uniform(17);
      const axes = rotary.sections?.length ?? 1;
      for (const dtype of ["f32", "f16", "int8"] as const) {
        const { used } = heed.memory;
        const options = { ...dims, batch: 2, capacity: 600, rotary, dtype, firstPosition: 3 };
        const cache = heed.createKvCache(options);
        const [k, v] = [floats(2 * 400 * kRow, next), floats(2 * 400 * vRow, next)];
        const positions = Int32Array.from({ length: axes * 400 }, (_, n) => 5 + ((n * 37) % 613));
        cache.append(k, v, { positions });
        const fork = cache.fork();
        const before = fork.save();
        // Runs, single tokens, and a whole page that moves as it is.
        const kept = Int32Array.from(
          Array.from({ length: 400 }, (_, n) => n).filter((n) => n < 128 || (n >= 256 && n < 384) || next() < 0.4),
        );
        cache.keep([kept, undefined], { repositioned: true });
        expect(cache.nextPositions[0]).toBe(3 + kept.length);
        expect(fork.save()).toEqual(before);

        const plain = heed.createKvCache(options);
        const rowsOf = (x: Float32Array, row: number) => {
          const rows = new Float32Array(2 * kept.length * row);
          kept.forEach((token, n) => rows.set(x.subarray(token * row, (token + 1) * row), n * row));
          return rows;
        };
        plain.append(rowsOf(k, kRow), rowsOf(v, vRow), { lengths: ints(kept.length, 0) });
        const [mine, theirs] = [cache.read(0, 0), plain.read(0, 0)];
        expect(mine.v).toEqual(theirs.v);
        const worst = mine.k.reduce((most, x, n) => Math.max(most, Math.abs(x - theirs.k[n]!)), 0);
        const largest = theirs.k.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        expect(worst).toBeLessThan(bounds[dtype] * largest);
        expect(worst).toBeGreaterThan(0);
        // Once more changes nothing.
        const settled = cache.save();
        cache.keep([Int32Array.from(kept.keys()), undefined], { repositioned: true });
        expect(cache.save()).toEqual(settled);
        for (const one of [cache, fork, plain]) one.dispose();
        expect(heed.memory.used).toBe(used);
      }
    });

    it("is refused where the cache does not rotate, and where it is no boolean", () => {
      using cache = heed.createKvCache({ ...dims, capacity: 9 });
      cache.append(new Float32Array(kRow), new Float32Array(vRow));
      expectRefusal(RangeError, "repositioned", () => cache.keep(ints(0), { repositioned: true }));
      expectRefusal(TypeError, "repositioned", () => cache.keep(ints(0), { repositioned: 1 as never }));
      expect(cache.length).toBe(1);
    });
  });

  it("queries of a sequence without tokens need no angles", () => {
    using cache = heed.createKvCache({
      ...dims,
      capacity: 9,
      rotary: { cos: tableOf(1), sin: tableOf(2), rotaryDim: 10 },
    });
    using q = heed.tensor(2 * numHeads * 12);
    q.data.set(floats(q.length, uniform(3)));
    cache.append(floats(kRow, uniform(1)), floats(vRow, uniform(2)));
    const alone = cache.attention(q.data.slice(0, q.length / 2), { numHeads });
    cache.add();
    const { out, lse } = cache.attention(q, { numHeads, lse: true });
    expect(out.subarray(0, alone.out.length)).toEqual(alone.out);
    expect(out.subarray(alone.out.length).every((x) => x === 0)).toBe(true);
    expect([...lse.subarray(numHeads)]).toEqual(Array(numHeads).fill(-Infinity));
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
