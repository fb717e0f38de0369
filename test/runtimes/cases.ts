// What every host must do: the same cases in each of them, against the package as it is packed. esbuild makes one plain module of
// this file, which a host runs beside the installed package; "heed-again" is a second copy of it.
import { load, loadSync } from "heed";
import { load as loadAgain } from "heed-again";
import simd from "heed/simd.wasm";
import { floorOf, maxError } from "../support/distance.ts";
import { naive } from "../support/naive.ts";
import { type Problem, type Sizes, problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { type PlainOptions, reference } from "../support/reference.ts";
import { golden } from "./golden.ts";

type Heed = Awaited<ReturnType<typeof load>>;

/** Bytes: esbuild embeds them. */
const bytes = simd as unknown as Uint8Array<ArrayBuffer>;

function expect(condition: unknown, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}

function expectWithin(error: number, budget: number, what: string): void {
  expect(error <= budget, `the error of ${what} is ${error}, at most ${budget} expected`);
}

type ErrorClass = typeof TypeError | typeof RangeError | typeof ReferenceError | typeof Error;

async function expectError(run: () => unknown, kind: ErrorClass, message: RegExp): Promise<void> {
  let thrown: unknown;
  try {
    await run();
  } catch (error) {
    thrown = error;
  }
  expect(thrown instanceof Error, `expected ${kind.name} ${String(message)}, got ${String(thrown)}`);
  expect(
    thrown.name === kind.name && message.test(thrown.message),
    `expected ${kind.name} ${String(message)}, got ${String(thrown)}`,
  );
}

/** Attention within twice the error of the plain f32 implementation. */
function expectRight({ q, k, v, options }: Problem, got: { out: Float32Array; lse?: Float32Array }): void {
  const exact = reference(q, k, v, options);
  const plain = naive(q, k, v, options);
  const floor = floorOf({ q, k, v, options }, exact);
  expectWithin(maxError(got.out, exact.out), Math.max(2 * maxError(plain.out, exact.out), floor.out), "out");
  if (got.lse)
    expectWithin(maxError(got.lse, exact.lse), Math.max(2 * maxError(plain.lse, exact.lse), floor.lse), "lse");
}

function attend(heed: Heed, problem: Problem): void {
  const { q, k, v, options } = problem;
  expectRight(problem, heed.attention(q, k, v, { ...options, lse: true }));
}

const sizes: Sizes = { batch: 2, numHeads: 4, seqLenQ: 5, seqLenKv: 9, headDim: 12 };
const scores = [2, 4, 5, 9];

/** One of each option: the sizes where they differ, and the options. */
const options: Record<string, [Sizes, Partial<PlainOptions>?]> = {
  numKvHeads: [{ numKvHeads: 2 }],
  valueDim: [{ valueDim: 7 }],
  layout: [{}, { layout: "bhld" }],
  scale: [{}, { scale: 0.7 }],
  causal: [{}, { causal: true }],
  queryOffset: [{}, { causal: true, queryOffset: Int32Array.of(-1, 3) }],
  window: [{}, { window: { left: 2, right: 1 } }],
  kvLengths: [{}, { kvLengths: Int32Array.of(9, 4) }],
  keepMask: [{}, { keepMask: randomMask([2, 1, 5, 9]) }],
  bias: [{}, { bias: randomBias(scores, 0.2) }],
  alibiSlopes: [{}, { alibiSlopes: Float32Array.of(0.5, 0.25, 0.125, 0.0625) }],
  softcap: [{}, { softcap: 2 }],
  sinks: [{}, { sinks: Float32Array.of(0, 1, -1, 2) }],
  cuSeqlens: [
    { batch: 1, seqLenQ: 8, seqLenKv: 11 },
    { cuSeqlensQ: Int32Array.of(0, 3, 8), cuSeqlensKv: Int32Array.of(0, 7, 11) },
  ],
};

async function withHeed(run: (heed: Heed) => unknown): Promise<void> {
  const heed = await load();
  await run(heed);
  heed.dispose();
}

/** Whether this host compiles bytes; if not, `load` must say so. */
async function compilesBytes(): Promise<boolean> {
  try {
    await WebAssembly.compile(bytes);
    return true;
  } catch {
    return false;
  }
}

const small: Problem = problemOf(sizes);

export const cases: Record<string, () => unknown> = {
  "the golden vector": () =>
    withHeed((heed) => {
      const { q, k, v } = golden;
      const got = heed.attention(q, k, v, { ...golden.options, lse: true });
      const plain = naive(q, k, v, golden.options);
      expectWithin(maxError(got.out, golden.out), 2 * maxError(plain.out, golden.out), "out");
      expectWithin(maxError(got.lse, golden.lse), 2 * maxError(plain.lse, golden.lse), "lse");
    }),

  ...Object.fromEntries(
    Object.entries(options).map(([name, [changed, chosen]]) => [
      `option ${name}`,
      () => withHeed((heed) => attend(heed, problemOf({ ...sizes, ...changed }, chosen))),
    ]),
  ),

  "options out and lse, with tensors": () =>
    withHeed((heed) => {
      const { q, k, v } = small;
      const tensors = [q, k, v, q, new Float32Array(2 * 4 * 5)].map((array) => {
        const tensor = heed.tensor(array.length);
        tensor.data.set(array);
        return tensor;
      });
      const [tq, tk, tv, out, lse] = tensors as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const result = heed.attention(tq, tk, tv, { numHeads: 4, headDim: 12, batch: 2, out, lse });
      expect(result.out === out && result.lse === lse, "the tensors given");
      expectRight(small, { out: out.data, lse: lse.data });
    }),

  "rotary embedding": () =>
    withHeed((heed) => {
      const x = Float32Array.of(1, 0, 0, 1);
      const { out } = heed.rotary(x, { numHeads: 1, headDim: 2, positions: Int32Array.of(0, 1) });
      // Row 0 stays; row 1 turns by one radian.
      expectWithin(maxError(out, [1, 0, -Math.sin(1), Math.cos(1)]), 2 ** -23, "the rotated rows");
    }),

  // Whole numbers with a largest magnitude of 127: every type holds them exactly.
  ...Object.fromEntries(
    (["f32", "f16", "int8"] as const).map((dtype) => [
      `a KV cache of ${dtype}`,
      () =>
        withHeed((heed) => {
          const whole = (rows: number) =>
            Float32Array.from({ length: rows * 2 * 8 }, (_, i) => (i % 8 === 0 ? 127 : ((i * 37) % 255) - 127));
          const [k, v] = [whole(140), whole(140).map((x) => -x)] as [
            Float32Array<ArrayBuffer>,
            Float32Array<ArrayBuffer>,
          ];
          const q = floats(4 * 8, uniform(7));
          const cache = heed.createKvCache({ numKvHeads: 2, headDim: 8, capacity: 200, dtype });
          for (const [from, to] of [
            [0, 139],
            [139, 140],
          ] as const)
            cache.append(k.subarray(from * 16, to * 16), v.subarray(from * 16, to * 16));
          expect(cache.length === 140, "140 tokens");
          const got = cache.attention(q, { numHeads: 4, causal: true, scale: 0.01, lse: true });
          expectRight({ q, k, v, options: { numHeads: 4, numKvHeads: 2, headDim: 8, causal: true, scale: 0.01 } }, got);
          cache.dispose();
        }),
    ]),
  ),

  "attention weights": () =>
    withHeed((heed) => {
      const { q, k, options } = problemOf({ batch: 1, numHeads: 1, seqLenQ: 5, seqLenKv: 9, headDim: 12 });
      const { weights } = heed.attentionWeights(q, k, { numHeads: 1, headDim: 12 });
      // Values that are the rows of an identity matrix come out as the weights.
      const identity = Float32Array.from({ length: 81 }, (_, i) => Number(i % 10 === 0));
      expectRight({ q, k, v: identity, options: { ...options, valueDim: 9 } }, { out: weights });
    }),

  "parts, merged": () =>
    withHeed((heed) => {
      const { q, k, v, options } = problemOf({ ...sizes, batch: 1 });
      const row = 4 * 12;
      const parts = [
        [0, 4],
        [4, 9],
      ].map(([from, to]) => {
        const [keys, values] = [k, v].map((rows) => rows.subarray(from! * row, to! * row)) as [typeof k, typeof v];
        return heed.attention(q, keys, values, { ...options, lse: true });
      });
      expectRight({ q, k, v, options }, heed.merge(parts, { numHeads: 4, headDim: 12 }));
    }),

  "errors, and what works after them": () =>
    withHeed(async (heed) => {
      const { used } = heed.memory;
      const { q, k, v, options } = small;
      await expectError(
        () => heed.attention(q, k.subarray(1), v, options),
        RangeError,
        /^"k" expected a length divisible by 96/,
      );
      await expectError(() => heed.attention([] as never, k, v, options), TypeError, /^"q" expected a Float32Array/);
      const tensor = heed.tensor(4);
      tensor.dispose();
      await expectError(() => tensor.data, ReferenceError, /disposed/);
      expect(heed.memory.used === used, "no memory kept");
      attend(heed, small);
    }),

  "memory that may not grow is a RangeError": async () => {
    const heed = await load({ maxMemory: 2 ** 20 });
    await expectError(() => heed.tensor(2 ** 20), RangeError, /^"memory" expected to grow/);
    attend(heed, small);
    expect(heed.memory.reserved <= 2 ** 20, "the bound kept");
    heed.dispose();
    await expectError(() => heed.tensor(1), ReferenceError, /disposed/);
  },

  "the build, chosen and pinned": async () => {
    const [best, pinned] = [await load(), await load({ variant: "simd" })];
    expect(best.variant === bestVariant(), `the build of this host, not ${best.variant}`);
    expect(pinned.variant === "simd", "the pinned build");
    attend(pinned, small);
    best.dispose();
    pinned.dispose();
  },

  loadSync: () => {
    const heed = loadSync();
    attend(heed, small);
    heed.dispose();
  },

  "a failed load, then a good one": async () => {
    await expectError(() => load({ variant: "fast" as "simd" }), RangeError, /^"variant" expected/);
    await expectError(
      () => load({ module: {} as never }),
      TypeError,
      /^"module" expected a WebAssembly.Module, its bytes/,
    );
    await expectError(() => load({ module: Promise.reject(new RangeError("offline")) }), RangeError, /^offline$/);
    await expectError(
      () => load({ module: Uint8Array.of(0, 97, 115, 109) }),
      RangeError,
      /^"module" expected the bytes of heed\/simd.wasm/,
    );
    await expectError(() => load({ module: new Response("", { status: 404 }) }), RangeError, /status 404/);
    await withHeed((heed) => attend(heed, small));
  },

  "module: bytes, a Response, a URL, a Module": async () => {
    if (!(await compilesBytes())) {
      await expectError(() => load({ module: bytes }), Error, /^this host compiles no WebAssembly from bytes/);
      return;
    }
    const url = `data:application/wasm;base64,${btoa(String.fromCharCode(...bytes))}`;
    const sources = {
      bytes,
      buffer: bytes.slice().buffer,
      response: new Response(bytes),
      promise: Promise.resolve(new Response(bytes)),
      url: new URL(url),
      string: url,
      module: await WebAssembly.compile(bytes),
    };
    for (const [name, module] of Object.entries(sources)) {
      const heed = await load({ module }).catch((cause: unknown) => {
        throw new Error(`${name}: ${String(cause)}`, { cause });
      });
      expect(heed.variant === "simd", `${name} gives the simd build`);
      attend(heed, small);
      heed.dispose();
    }
    for (const module of [sources.bytes, sources.module]) {
      const heed = loadSync({ module });
      attend(heed, small);
      heed.dispose();
    }
  },

  "two copies of the package at once": async () => {
    const [one, other] = [await load(), await loadAgain()];
    const { q, k, v, options } = small;
    const [a, b] = [one.attention(q, k, v, options).out, other.attention(q, k, v, options).out];
    expect(maxError(a, b) === 0, "the same bits");
    const tensor = one.tensor(q.length);
    await expectError(() => other.attention(tensor, k, v, options), TypeError, /^"q" expected/);
    one.dispose();
    attend(other, small);
    other.dispose();
  },

  "1000 loads and disposals": async () => {
    for (let n = 0; n < 1000; n++) {
      const heed = await load();
      if (n % 100 === 0) attend(heed, small);
      heed.dispose();
    }
  },
};

type Tensor = ReturnType<Heed["tensor"]>;

/** By another instruction than the one that heed asks for: the fused multiply-add itself. */
function bestVariant(): "simd" | "relaxed" {
  // (module (func (result v128) … f32x4.relaxed_madd))
  const body = [0, ...[0, 1, 2].flatMap(() => [253, 12, ...new Uint8Array(16)]), 253, 133, 2, 11];
  const probe = Uint8Array.from([
    0,
    97,
    115,
    109,
    1,
    0,
    0,
    0,
    1,
    5,
    1,
    96,
    0,
    1,
    123,
    3,
    2,
    1,
    0,
    10,
    body.length + 2,
    1,
    body.length,
    ...body,
  ]);
  return WebAssembly.validate(probe) ? "relaxed" : "simd";
}

/** What a host answers. */
export interface Report {
  variant: string;
  /** By name of the case: null where it passed, else the error. */
  results: Record<string, string | null>;
}

export async function runCases(): Promise<Report> {
  const results: Report["results"] = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      results[name] = null;
    } catch (error) {
      results[name] = error instanceof Error ? `${String(error)}\n${error.stack ?? ""}` : String(error);
    }
  }
  const heed = await load();
  const { variant } = heed;
  heed.dispose();
  return { variant, results };
}
