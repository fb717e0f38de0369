// Activations, embedding, pooling, softmax and logits against f64, and their edges.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Activation } from "../../bindings/layer/epilogue.ts";
import { activationReference, epilogueReference } from "../support/activations.ts";
import { logitsReference, meanReference, softmaxReference } from "../support/blocks.ts";
import { ULP, largest, maxError } from "../support/budget.ts";
import { blocksOf, forEachBuild } from "../support/builds.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const ACTIVATIONS: Activation[] = ["relu", "silu", "gelu", "gelu-tanh", "swiglu", "geglu", "geglu-tanh"];
const isGate = (name: Activation) => name.includes("glu");
const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(64, 255, 257, 1025));
const rowsOf = fc.integer({ min: 0, max: 5 });

forEachBuild((name, open) => {
  const heed = open();
  const blocks = blocksOf(heed);
  const check = (numRuns: number) => ({ seed: 20261128, numRuns: runs(name === "debug" ? numRuns / 4 : numRuns) });

  /** Twice the error of plain f32; `floor`, in ulp of the largest result, is what rounds in any implementation. */
  const expectClose = (got: ArrayLike<number>, exact: Float64Array, naive: Float64Array, floor: number) => {
    const least = floor * ULP * largest(exact);
    expect(maxError(got, exact)).toBeLessThanOrEqual(Math.max(2 * maxError(naive, exact), least));
  };

  describe("activate", () => {
    it("is within twice the error of plain f32, for any shape", () => {
      const shapes = fc.record({
        seed: fc.integer(),
        rows: rowsOf,
        dim: size,
        activation: fc.constantFrom(...ACTIVATIONS),
        hasUp: fc.boolean(),
      });
      const property = fc.property(shapes, ({ seed, rows, dim, activation, hasUp }) => {
        const { used } = heed.memory;
        const next = uniform(seed);
        const [x, up] = [floats(rows * dim, next).map((value) => 3 * value), floats(rows * dim, next)];
        const halves = new Float32Array(2 * x.length);
        for (let row = 0; row < rows; row++) {
          halves.set(x.subarray(row * dim, (row + 1) * dim), 2 * row * dim);
          halves.set(up.subarray(row * dim, (row + 1) * dim), (2 * row + 1) * dim);
        }
        const isHalved = isGate(activation) && !hasUp;
        const { out } = isHalved
          ? blocks.activate(halves, { activation, dim })
          : blocks.activate(x, { activation, up: isGate(activation) ? up : undefined });
        const products = Float64Array.from(isGate(activation) ? halves : x);
        const features = isGate(activation) ? 2 * dim : dim;
        const [exact, naive] = [undefined, Math.fround].map((round) =>
          epilogueReference(products, features, activation, undefined, round),
        ) as [Float64Array, Float64Array];
        // An activation is within 3 ulp of |x| (test/layer/epilogue.test.ts).
        expectClose(out, exact, naive, 4);
        expect(heed.memory.used).toBe(used);
      });
      fc.assert(property, check(200));
    });

    it.each(ACTIVATIONS)("%s has the bits of heed.linear", (activation) => {
      const special = [0, 1, NaN, Infinity, -Infinity, 3e-42, -3e38, 88.9, -88.9, 1e30, -120];
      const x = Float32Array.from([...special, ...floats(500, uniform(3)).map((value) => 6 * value)]);
      const up = isGate(activation) ? floats(x.length, uniform(4)) : undefined;
      const { out } = blocks.activate(x, { activation, up });
      const plain = activation.replace("swiglu", "silu").replace("geglu", "gelu") as Activation;
      const one = heed.linear(x, Float32Array.of(1), undefined, { inFeatures: 1, activation: plain }).out;
      expect(out).toEqual(up ? one.map((value, n) => value * up[n]!) : one);
      expect(out[2]).toBeNaN();
      expect(out[7]).toBeCloseTo(activationReference(plain, x[7]!) * (up?.[7] ?? 1), 4);
    });
  });

  describe("embed", () => {
    const next = uniform(6);
    const [dim, count] = [13, 9];
    const table = floats(20 * dim, next);
    const positionTable = floats(30 * dim, next);
    const typeTable = floats(2 * dim, next);
    const tokens = Int32Array.from({ length: count }, () => integer(0, 19, next));
    const types = Int32Array.from({ length: count }, () => integer(0, 1, next));
    const positions = Int32Array.from({ length: count }, () => integer(0, 29, next));
    const row = (from: Float32Array, n: number) => from.subarray(n * dim, (n + 1) * dim);
    const add = (a: Float32Array, b: Float32Array) => a.map((value, n) => value + b[n]!);
    const expected = (each: (n: number) => Float32Array) =>
      Float32Array.from(Array.from({ length: count }, (_, n) => [...each(n)]).flat());

    it("gives rows of the table, scaled", () => {
      expect(blocks.embed(tokens, { table, dim }).out).toEqual(expected((n) => row(table, tokens[n]!)));
      expect(blocks.embed(tokens, { table, dim, scale: 0.3 }).out).toEqual(
        expected((n) => row(table, tokens[n]!).map((value) => value * Math.fround(0.3))),
      );
    });

    it("adds positions and types, rounded in this order", () => {
      const options = { table, dim, positionTable, typeTable };
      const withPositions = (at: (n: number) => number) => (n: number) =>
        add(row(table, tokens[n]!), row(positionTable, at(n)));
      const first = row(typeTable, 0);
      expect(blocks.embed(tokens, options).out).toEqual(expected((n) => add(withPositions((n) => n)(n), first)));
      expect(blocks.embed(tokens, { ...options, positions: 20, seqLen: 3, typeTable: undefined }).out).toEqual(
        expected(withPositions((n) => 20 + (n % 3))),
      );
      expect(blocks.embed(tokens, { ...options, positions, types }).out).toEqual(
        expected((n) => add(withPositions((n) => positions[n]!)(n), row(typeTable, types[n]!))),
      );
    });

    it("copies of a table in an array no more than the rows that it reads, and of a Tensor none", () => {
      const own = open();
      const large = new Float32Array(10_000 * dim);
      using tensor = own.tensor(large.length);
      const { used } = own.memory;
      for (const table of [large, tensor]) blocksOf(own).embed(Int32Array.of(9_999, 3), { table, dim });
      expect(own.memory.peak - used).toBeLessThanOrEqual(4 * 4 * dim + 8 + 3 * 80);
      expect(own.memory.used).toBe(used);
    });

    it("gives nothing for no token", () => expect(blocks.embed(new Int32Array(0), { table, dim }).out).toHaveLength(0));
  });

  describe("pool", () => {
    it("is the mean of the rows that are kept, within twice the error of plain f32", () => {
      const shapes = fc.record({
        seed: fc.integer(),
        lengths: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 4 }),
        dim: size,
        hasMask: fc.boolean(),
        isPacked: fc.boolean(),
      });
      const property = fc.property(shapes, ({ seed, lengths, dim, hasMask, isPacked }) => {
        const next = uniform(seed);
        const seqLen = Math.max(...lengths);
        const rooms = lengths.map((length) => (isPacked ? length : seqLen));
        const starts = [0];
        for (const room of rooms) starts.push(starts.at(-1)! + room);
        const rows = starts.at(-1)!;
        const x = floats(rows * dim, next);
        const keepMask = hasMask ? Uint8Array.from({ length: rows }, () => integer(0, 2, next)) : undefined;
        const kept = lengths.map((length, n) =>
          Array.from({ length: rooms[n]! }, (_, row) => row < length && keepMask?.[starts[n]! + row] !== 0),
        );
        // What is not kept must not be read.
        kept.forEach((keeps, n) =>
          keeps.forEach((keep, row) => {
            if (!keep) x.fill(NaN, (starts[n]! + row) * dim, (starts[n]! + row + 1) * dim);
          }),
        );
        const cuts = isPacked
          ? { cuSeqlens: Int32Array.from(starts) }
          : { batch: lengths.length, lengths: Int32Array.from(lengths) };
        const { out } = blocks.pool(x, { dim, keepMask, ...cuts });
        kept.forEach((keeps, n) => {
          const own = x.subarray(starts[n]! * dim, starts[n + 1]! * dim);
          const [exact, naive] = [meanReference(own, dim, keeps), meanReference(own, dim, keeps, Math.fround)];
          expectClose(out.subarray(n * dim, (n + 1) * dim), exact, naive, 0.5);
        });
        for (const pooling of ["cls", "last"] as const) {
          const { out } = blocks.pool(x, { dim, keepMask, pooling, ...cuts });
          kept.forEach((keeps, n) => {
            const row = pooling === "cls" ? keeps.indexOf(true) : keeps.lastIndexOf(true);
            const at = (starts[n]! + row) * dim;
            const expected = row < 0 ? new Float32Array(dim) : x.subarray(at, at + dim);
            expect(out.subarray(n * dim, (n + 1) * dim)).toEqual(expected);
          });
        }
      });
      fc.assert(property, check(150));
    });

    it("takes all rows of one sequence by default, and does not drift over many", () => {
      const rows = 20_000;
      const { out } = blocks.pool(new Float32Array(rows * 3).fill(0.1), { dim: 3 });
      expect(out).toEqual(new Float32Array(3).fill(0.1));
    });

    it("lets a NaN in a row that is kept show in its column", () => {
      const x = Float32Array.of(1, NaN, 3, 4);
      expect(blocks.pool(x, { dim: 2 }).out).toEqual(Float32Array.of(2, NaN));
    });
  });

  describe("softmax", () => {
    it("is within twice the error of plain f32, for any shape", () => {
      const shapes = fc.record({
        seed: fc.integer(),
        rows: rowsOf,
        dim: size,
        scale: fc.constantFrom(1, 0.125, 3),
        isMasked: fc.boolean(),
      });
      const property = fc.property(shapes, ({ seed, rows, dim, scale, isMasked }) => {
        const next = uniform(seed);
        const x = floats(rows * dim, next).map((value) => 4 * value);
        if (isMasked) x.forEach((_, n) => n % dim > 0 && next() < 0.3 && (x[n] = -Infinity));
        const { out } = blocks.softmax(x, { dim, scale });
        const [exact, naive] = [softmaxReference(x, dim, scale), softmaxReference(x, dim, scale, Math.fround)];
        // exp 1.5 ulp, and half an ulp of the exponent and of its factor; the sum, its reciprocal, the product.
        expectClose(out, exact, naive, 4);
        x.forEach((value, n) => value === -Infinity && expect(out[n]).toBe(0));
        for (let row = 0; row < rows; row++) {
          const sum = out.subarray(row * dim, (row + 1) * dim).reduce((a, b) => a + b, 0);
          expect(Math.abs(sum - 1)).toBeLessThan(1e-5);
        }
      });
      fc.assert(property, check(150));
    });

    it.each([
      ["large logits", [3e38, 3e38, -3e38], [0.5, 0.5, 0]],
      ["NaN", [1, NaN, 2], [NaN, NaN, NaN]],
      ["Infinity", [1, Infinity, 2], [NaN, NaN, NaN]],
      ["nothing but −Infinity", [-Infinity, -Infinity, -Infinity], [NaN, NaN, NaN]],
    ])("of a row with %s is what IEEE has, and the row beside it keeps its bits", (_, row, expected) => {
      const beside = [0.3, -1, 2];
      const { out } = blocks.softmax(Float32Array.from([...row, ...beside]), { dim: 3 });
      expect([...out.subarray(0, 3)]).toEqual(expected);
      expect(out.subarray(3)).toEqual(blocks.softmax(Float32Array.from(beside), { dim: 3 }).out);
    });

    it("takes a scale as large as floats are", () => {
      const { out } = blocks.softmax(Float32Array.of(1, 2, 2, -5), { dim: 4, scale: 3e38 });
      expect(out).toEqual(Float32Array.of(0, 0.5, 0.5, 0));
    });
  });

  it("scaleLogits is within twice the error of plain f32, for any length", () => {
    const shapes = fc.record({
      seed: fc.integer(),
      length: fc.integer({ min: 0, max: 40 }),
      scale: fc.constantFrom(1, 0.0625, -40),
      softcap: fc.constantFrom(undefined, 30, 0.5),
    });
    const property = fc.property(shapes, ({ seed, length, scale, softcap }) => {
      const x = floats(length, uniform(seed)).map((value) => 8 * value);
      const { out } = blocks.scaleLogits(x, { scale, softcap });
      const exact = logitsReference(x, Math.fround(scale), softcap);
      // The scaled value, the quotient, tanh 2 ulp, the product.
      expectClose(out, exact, logitsReference(x, Math.fround(scale), softcap, Math.fround), 3.5);
    });
    fc.assert(property, check(200));
    expect(blocks.scaleLogits(Float32Array.of(NaN, Infinity, -Infinity), { softcap: 20 }).out).toEqual(
      Float32Array.of(NaN, 20, -20),
    );
    expect(blocks.scaleLogits(Float32Array.of(3)).out).toEqual(Float32Array.of(3));
  });
});
