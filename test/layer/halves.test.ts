// x, weights, biases, residual and out of 16 bits: the bits of floats converted first, in linear; the layer's are in layer-halves.test.ts.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { Activation } from "../../bindings/layer/epilogue.ts";
import type { Float16ArrayLike, FloatRows } from "../../bindings/memory/data.ts";
import { forEachBuild } from "../support/builds.ts";
import {
  type Form,
  bitsOfFloats,
  expectRounded,
  floatsOf,
  forms,
  halvesOf,
  inForm,
  repeated,
  shaped,
  tensorOf,
} from "../support/halves.ts";
import { floats, uniform } from "../support/random.ts";
import { runs, thinned } from "../support/sweep.ts";

const ACTIVATIONS: Activation[] = ["relu", "silu", "gelu", "gelu-tanh", "swiglu", "geglu", "geglu-tanh"];

/** A call of linear, each operand in a form. */
interface Drawn {
  seed: number;
  rows: number;
  inFeatures: number;
  features: number;
  activation?: Activation | undefined;
  /** How the weight is given. */
  packed: "raw" | "f32" | "int8" | "q4";
  flipped: boolean;
  biasWithWeight: boolean;
  x: Form;
  weight: Form;
  bias?: Form | undefined;
  residual?: Form | undefined;
  out?: Form | "residual" | undefined;
}

/** Expects what linear makes of 16 bits to be what it makes of the floats that they stand for, rounded once. */
function expectBitsOfFloats(heed: Heed, drawn: Drawn): void {
  const { rows, inFeatures, features, activation, packed, flipped, biasWithWeight } = drawn;
  const { used } = heed.memory;
  const next = uniform(drawn.seed);
  const outFeatures = activation?.includes("glu") ? 2 * features : features;
  const ends: (() => void)[] = [];
  const take = (length: number, form: Form): { rows: FloatRows; floats: Float32Array } => {
    const taken = inForm(heed, repeated(length, next), form);
    ends.push(taken.end);
    return taken;
  };
  const x = take(rows * inFeatures, drawn.x);
  const weight = take(outFeatures * inFeatures, drawn.weight);
  const bias = drawn.bias && take(outFeatures, drawn.bias);
  const residual = drawn.residual && take(rows * features, drawn.residual);
  const shape = flipped ? [inFeatures, outFeatures] : [outFeatures, inFeatures];

  const run = (
    xRows: FloatRows,
    weightRows: FloatRows,
    biasRows: FloatRows | undefined,
    added: FloatRows | undefined,
    out?: FloatRows,
  ): FloatRows => {
    const options = { activation, residual: added, out };
    const raw = shaped(weightRows as Float32Array, shape);
    if (packed === "raw") return heed.linear(xRows, raw, biasRows, { ...options, transposed: flipped }).out;
    const [inside, outside] = biasWithWeight ? [biasRows, undefined] : [undefined, biasRows];
    using kept = heed.packLinear(raw, inside, { transposed: flipped, dtype: packed });
    return heed.linear(xRows, kept, outside, options).out;
  };
  const expected = run(x.floats, weight.floats, bias?.floats, residual?.floats) as Float32Array;
  const fresh = drawn.out && drawn.out !== "residual" ? take(rows * features, drawn.out).rows : undefined;
  const out = drawn.out === "residual" ? residual?.rows : fresh;
  const got = run(x.rows, weight.rows, bias?.rows, residual?.rows, out);
  if (out) expect(got).toBe(out);
  else expect(got).toBeInstanceOf(Float32Array);
  expectRounded(got as Float32Array, expected);
  for (const end of ends) end();
  expect(heed.memory.used).toBe(used);
}

const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(16, 17, 33, 64, 65));
const calls: fc.Arbitrary<Drawn> = fc.record({
  seed: fc.integer(),
  rows: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom(131, 133)),
  inFeatures: size,
  features: size,
  activation: fc.constantFrom(undefined, ...ACTIVATIONS),
  packed: fc.constantFrom("raw", "f32", "int8", "q4"),
  flipped: fc.boolean(),
  biasWithWeight: fc.boolean(),
  x: forms,
  weight: forms,
  bias: fc.option(forms, { nil: undefined }),
  residual: fc.option(forms, { nil: undefined }),
  out: fc.oneof(fc.constantFrom(undefined, "residual" as const), forms),
});

const [narrow, wide] = [
  { dtype: "bf16", place: "array" },
  { dtype: "f16", place: "Tensor" },
] as const;
/** So wide that some rows of x, and some features of a weight, are a piece. */
const PIECES = { seed: 7, rows: 45, inFeatures: 12_000, features: 70, x: narrow, weight: narrow } as const;

const IN_PIECES: [string, Partial<Drawn>][] = [
  ["a raw weight", {}],
  ["a raw weight, transposed, from a Tensor", { flipped: true, weight: wide }],
  ["a raw weight, transposed, from an array", { flipped: true }],
  ["a raw gate", { features: 35, activation: "swiglu" }],
  ["a raw weight of f32", { weight: { dtype: "f32", place: "array" }, flipped: true }],
  ["a packed weight, a residual in place", { packed: "f32", residual: wide, out: "residual", activation: "silu" }],
  ["a raw weight, a residual in place", { residual: wide, out: "residual" }],
  ["int8, a gate", { packed: "int8", features: 35, activation: "geglu" }],
  ["q4, transposed", { packed: "q4", flipped: true, rows: 3 }],
  ["wide rows of out", { rows: 37, inFeatures: 1, features: 14_500, packed: "f32", out: narrow, residual: narrow }],
];

forEachBuild((name, open) => {
  const heed = open();
  const count = (numRuns: number) => runs(name === "debug" ? numRuns / 5 : numRuns);

  it("linear has the bits of f32 for any operands", () => {
    const property = fc.property(calls, (drawn) => expectBitsOfFloats(heed, drawn));
    fc.assert(property, { seed: 20261401, numRuns: count(400) });
  });

  // Each on one build at least.
  const taken = thinned(IN_PIECES, (_, n) => n % 3 === ["debug", "simd", "relaxed"].indexOf(name));
  it.each(taken)("in pieces: %s", (_, drawn) => {
    const plain = { packed: "raw", flipped: false, biasWithWeight: false, bias: wide, out: wide } as const;
    expectBitsOfFloats(heed, { ...PIECES, ...plain, ...drawn });
  });

  it.skipIf(!("Float16Array" in globalThis))(
    "takes a Float16Array (Node 24 and later), and writes to one",
    async () => {
      const Float16 = (globalThis as unknown as { Float16Array: new (from: ArrayBuffer | number) => Float16ArrayLike })
        .Float16Array;
      const next = uniform(12);
      const bits = (length: number) => halvesOf(floats(length, next), "f16");
      const [x, weight, sinks] = [bits(6), bits(12), bits(1)];
      const out = new Float16(8);
      const asArray = ({ data }: typeof x) => new Float16(data.buffer);
      expect(heed.linear(asArray(x), asArray(weight), undefined, { inFeatures: 3, out }).out).toBe(out);
      const expected = heed.linear(floatsOf(x), floatsOf(weight), undefined, { inFeatures: 3 }).out;
      expectRounded(
        { data: new Uint16Array((out as unknown as Uint16Array).buffer as ArrayBuffer), dtype: "f16" },
        expected,
      );
      const square = { weight: { data: asArray(bits(4)), shape: [2, 2] } };
      const weights = { q: square, k: square, v: square, out: square };
      using layer = heed.createMultiHeadAttention({ embedDim: 2, numHeads: 1, weights });
      const plain = layer.forward(floatsOf(x), { sinks: floatsOf(sinks) }).out;
      const got = await layer.forwardAsync(asArray(x), { sinks: asArray(sinks) });
      expect(bitsOfFloats(got.out)).toEqual(bitsOfFloats(plain));
    },
  );

  describe("memory", () => {
    const peakOf = (call: (fresh: Heed) => unknown): number => {
      using fresh = open();
      call(fresh);
      return fresh.memory.peak;
    };
    const zeros = (length: number) => ({ data: new Uint16Array(length), dtype: "bf16" }) as const;
    const [rows, inFeatures, outFeatures] = [2000, 600, 24];
    const x = new Float32Array(rows * inFeatures);
    const halfX = zeros(x.length);
    const shape = [inFeatures, 3000];
    const weight = new Float32Array(600 * 3000);
    const halfWeight = { ...zeros(weight.length), shape };
    /** Pieces, and what a call takes besides. */
    const PIECES_BYTES = 7 * 2 ** 20;

    it("linear holds x in 16 bits, and none of a Tensor", () => {
      const narrowWeight = { data: weight.subarray(0, outFeatures * inFeatures), shape: [outFeatures, inFeatures] };
      const long = zeros(6000 * inFeatures);
      const peak = peakOf((fresh) => fresh.linear(long, narrowWeight, undefined, {}));
      expect(peak).toBeLessThan(3 * long.data.length);
      const resident = peakOf((fresh) => {
        const [tensor, out] = [tensorOf(fresh, long), fresh.tensor(6000 * outFeatures, "f16")];
        const before = fresh.memory.used;
        fresh.linear(tensor, narrowWeight, undefined, { out });
        expect(fresh.memory.peak - before).toBeLessThan(2 ** 22);
      });
      expect(resident).toBeLessThan(3 * long.data.length);
    });

    it.each(["f32", "int8", "q4"] as const)("packLinear to %s holds a weight in pieces", (dtype) => {
      for (const isTransposed of [false, true]) {
        const given = isTransposed ? halfWeight : { ...halfWeight, shape: [3000, inFeatures] };
        let bytes = 0;
        const peak = peakOf((fresh) => {
          const before = fresh.memory.used;
          bytes = fresh.packLinear(given, undefined, { dtype, transposed: isTransposed }).bytes + before;
        });
        expect(peak - bytes).toBeLessThan(2 ** 21 + 2 ** 17);
      }
    });

    it("a raw weight is packed in pieces", () => {
      const oneRow = new Float32Array(inFeatures);
      const many = { ...zeros(6000 * 600), shape: [6000, 600] };
      const peak = peakOf((fresh) => fresh.linear(oneRow, many));
      expect(peak).toBeLessThan(6.5 * 2 ** 20);
      expect(peak).toBeLessThan(2 * many.data.length);
    });

    it("a layer holds x in 16 bits", () => {
      const square = { weight: { data: weight.subarray(0, 8 * inFeatures), shape: [8, inFeatures] } };
      const call = (fresh: Heed, rows: FloatRows): unknown => {
        const layer = fresh.createMultiHeadAttention({
          embedDim: inFeatures,
          numHeads: 1,
          headDim: 8,
          weights: { q: square, k: square, v: square },
        });
        return layer.forward(rows);
      };
      const wide = peakOf((fresh) => call(fresh, x));
      const narrow = peakOf((fresh) => call(fresh, halfX));
      expect(wide - narrow).toBeGreaterThan(2 * x.length - PIECES_BYTES / 3);
    });
  });
});
