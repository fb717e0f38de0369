// heed.createMultiHeadAttention against f64: self- and cross-attention, GQA, rotary, masks and packed sequences.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ForwardOptions } from "../../bindings/layer/forward-options.ts";
import { expectClose, maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import {
  type Dims,
  type PlainForward,
  type Projections,
  dimsOf,
  layerFloor,
  layerReference,
  makeLayer,
  projectionsOf,
} from "../support/layer.ts";
import { randomBias, randomMask } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

type Floats = Float32Array<ArrayBuffer>;

/** Expects the layer to be within twice the error of plain f32. */
function expectRight(
  got: { out: ArrayLike<number>; lse: ArrayLike<number> },
  x: Floats,
  projections: Projections,
  dims: Dims,
  plain: PlainForward,
): void {
  const exact = layerReference(x, projections, dims, plain);
  const naive = layerReference(x, projections, dims, plain, Math.fround);
  expectClose(got, exact, naive, layerFloor(x, projections, dims, plain, exact));
}

const dim = fc.oneof(fc.integer({ min: 1, max: 21 }), fc.constantFrom(8, 16, 24, 32));

const layers = fc.record({
  seed: fc.integer(),
  batch: fc.integer({ min: 1, max: 2 }),
  seqLenQ: fc.integer({ min: 9, max: 20 }),
  seqLenKv: fc.integer({ min: 9, max: 40 }),
  embedDim: fc.integer({ min: 12, max: 70 }),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  headDim: dim.map((n) => n * 2),
  valueDim: dim,
  kDim: fc.integer({ min: 12, max: 40 }),
  vDim: fc.integer({ min: 12, max: 40 }),
  outDim: fc.integer({ min: 12, max: 40 }),
  biased: fc.boolean(),
  projected: fc.boolean(),
  cross: fc.boolean(),
  turned: fc.boolean(),
});

forEachBuild((name, open) => {
  const heed = open();

  it("is projections, rotary, attention and projection, for any sizes and options", () => {
    const property = fc.property(layers, (given) => {
      const { seed, batch, seqLenQ, embedDim, cross, turned, biased, projected } = given;
      const next = uniform(seed);
      const third = () => next() < 1 / 3;
      const seqLenKv = cross ? given.seqLenKv : seqLenQ;
      const numHeads = given.numKvHeads * given.group;
      const kvDim = cross ? { k: given.kDim, v: given.vDim } : { k: embedDim, v: embedDim };
      const dims: Dims = { ...dimsOf({ ...given, numHeads }), kvDim };
      const projections = projectionsOf(dims, next, biased, projected);
      const x = floats(batch * seqLenQ * embedDim, next);
      const context = cross
        ? { k: floats(batch * seqLenKv * kvDim.k, next), v: floats(batch * seqLenKv * kvDim.v, next) }
        : undefined;

      const shape = [batch, numHeads, seqLenQ, seqLenKv].map((size) => (third() ? 1 : size)).slice(integer(0, 3, next));
      const attention: PlainForward["attention"] = { causal: next() < 0.5 };
      if (!cross) attention.queryOffset = 0;
      if (third()) attention.window = { left: integer(0, 30, next), right: integer(0, 9, next) };
      if (third()) attention.softcap = 1 + 9 * next();
      if (third()) attention.sinks = floats(numHeads, next);
      if (third()) attention.alibiSlopes = Float32Array.from({ length: numHeads }, () => next() / 20);
      if (third()) attention.bias = randomBias(shape, third() ? 0.2 : 0, integer(0, 1e9, next));
      if (third()) attention.scale = 2 * next() - 1;
      if (third()) attention.queryOffset = integer(-3, seqLenKv + 3, next);
      if (third()) attention.kvLengths = Int32Array.from({ length: batch }, () => integer(0, seqLenKv, next));
      const options: ForwardOptions = { ...attention, batch, lse: true };
      if (third()) {
        const mask = randomMask(shape, integer(0, 1e9, next));
        attention.keepMask = mask;
        if (next() < 0.5) options.keepMask = mask;
        else options.dropMask = { data: mask.data.map((byte) => (byte ? 0 : 255)), shape };
      }
      if (context) options.context = context;
      const plain: PlainForward = { batch, attention, ...(context && { context }) };
      if (turned) {
        plain.rotary = { base: 500, interleaved: next() < 0.5, rotaryDim: dims.headDim - (dims.headDim > 2 ? 2 : 0) };
        if (third()) plain.positions = options.positions = integer(0, 50, next);
        if (third())
          plain.positions = options.positions = Int32Array.from({ length: seqLenQ }, () => integer(0, 99, next));
        if (!cross) plain.kPositions = plain.positions ?? 0;
        else if (third()) plain.kPositions = options.contextPositions = integer(0, 50, next);
      }

      const { used } = heed.memory;
      const layer = heed.createMultiHeadAttention({
        ...dims,
        bias: biased,
        rotary: plain.rotary,
        weights: projections,
      });
      const got = layer.forward(x, options);
      expectRight(got as { out: Floats; lse: Floats }, x, projections, dims, plain);
      layer.dispose();
      expect(heed.memory.used).toBe(used);
    });
    fc.assert(property, { seed: 20261125, numRuns: runs(name === "debug" ? 40 : 150) });
  });

  describe("packed sequences", () => {
    it("have positions of their own", () => {
      const { layer, dims, weights } = makeLayer(heed, { numKvHeads: 2 }, { rotary: true });
      const x = floats(22 * dims.embedDim, uniform(12));
      const cuSeqlensQ = Int32Array.of(0, 9, 9, 22);
      const { out } = layer.forward(x, { cuSeqlensQ, causal: true });
      for (const [from, to] of [
        [0, 9],
        [9, 22],
      ] as const) {
        const part = x.slice(from * dims.embedDim, to * dims.embedDim);
        const plain: PlainForward = { batch: 1, attention: { causal: true }, rotary: {} };
        const exact = layerReference(part, weights, dims, plain).out;
        const naive = layerReference(part, weights, dims, plain, Math.fround).out;
        const got = out.subarray(from * dims.outDim, to * dims.outDim);
        expect(maxError(got, exact)).toBeLessThanOrEqual(2 * maxError(naive, exact));
      }
      layer.dispose();
    });
  });

  it("takes sizes from the shapes of the weights", () => {
    const dims = dimsOf({
      numHeads: 6,
      numKvHeads: 2,
      embedDim: 20,
      headDim: 10,
      valueDim: 4,
      kvDim: { k: 7, v: 9 },
      outDim: 13,
    });
    const layer = heed.createMultiHeadAttention({ numHeads: 6, weights: projectionsOf(dims, uniform(1)) });
    expect(layer).toMatchObject(dims);
    layer.dispose();
    const plain = heed.createMultiHeadAttention({ numHeads: 6, embedDim: 30, numKvHeads: 3, kvDim: 12 });
    const expected = {
      ...dims,
      embedDim: 30,
      numKvHeads: 3,
      headDim: 5,
      valueDim: 5,
      kvDim: { k: 12, v: 12 },
      outDim: 30,
    };
    expect(plain).toMatchObject(expected);
    plain.dispose();
  });

  it("takes from a call what it is given, and from the layer what it is not", () => {
    const sinks = Float32Array.of(1, 2, 3, 4);
    const { layer, dims, weights } = makeLayer(
      heed,
      {},
      { causal: true, softcap: 2, sinks, scale: 0.2, window: { left: 4 } },
    );
    const bare = heed.createMultiHeadAttention({ ...dims, weights });
    const x = floats(11 * dims.embedDim, uniform(14));
    const own = { causal: true, softcap: 2, sinks, scale: 0.2, window: { left: 4 } };
    expect(layer.forward(x)).toEqual(bare.forward(x, own));
    const other = { causal: false, softcap: 5, scale: 0.1 };
    expect(layer.forward(x, other)).toEqual(bare.forward(x, { ...own, ...other }));
    layer.dispose();
    bare.dispose();
  });

  it("changes its weights, and keeps them where the new ones are refused", () => {
    const { layer, dims, weights } = makeLayer(heed);
    const x = floats(11 * dims.embedDim, uniform(15));
    const before = layer.forward(x).out;
    const { used } = heed.memory;
    expect(() => layer.setWeights({ ...weights, v: weights.out!, out: { weight: new Float32Array(5) } })).toThrow(
      RangeError,
    );
    expect(layer.forward(x).out).toEqual(before);
    layer.setWeights(projectionsOf(dims, uniform(99)));
    expect(layer.forward(x).out).not.toEqual(before);
    layer.setWeights(weights);
    expect(layer.forward(x).out).toEqual(before);
    expect(heed.memory.used).toBe(used);
    layer.dispose();
  });

  it("writes where it is told: arrays, tensors, and over x itself", () => {
    const { layer, dims } = makeLayer(heed);
    const x = floats(11 * dims.embedDim, uniform(16));
    const { out, lse } = layer.forward(x, { lse: true });
    const [outArray, lseArray] = [new Float32Array(out.length), new Float32Array(lse.length)];
    expect(layer.forward(x, { out: outArray, lse: lseArray })).toEqual({ out: outArray, lse: lseArray });
    expect([outArray, lseArray]).toEqual([out, lse]);
    const tensor = heed.tensor(x.length);
    const ofLse = heed.tensor(lse.length);
    tensor.data.set(x);
    const result = layer.forward(tensor, { out: tensor, lse: ofLse });
    expect(result.out).toBe(tensor);
    expect([tensor.data, ofLse.data]).toEqual([out, lse]);
    tensor.dispose();
    ofLse.dispose();
    layer.dispose();
  });

  it("takes no rows, and keys of no rows", () => {
    const { layer, dims } = makeLayer(heed);
    expect(layer.forward(new Float32Array(0), { lse: true })).toEqual({
      out: new Float32Array(0),
      lse: new Float32Array(0),
    });
    const out = layer.forward(new Float32Array(dims.embedDim), { context: new Float32Array(0) }).out;
    const bias = makeLayer(heed).weights.out!.bias;
    expect(out).toEqual(bias);
    layer.dispose();
  });
});
