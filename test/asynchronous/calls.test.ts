// What the caller may do while an asynchronous call runs, and what is left of a call that fails.
import { describe, expect, it, vi } from "vitest";
import type { AsyncOptions } from "../../bindings/steps/run-async.ts";
import type { Heed } from "../../bindings/heed.ts";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import { bitsOf } from "../support/bits.ts";
import { openSimd } from "../support/builds.ts";
import { makeLayer } from "../support/layer.ts";
import { problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";

vi.mock("../../bindings/steps/steps.ts", async (original) => ({
  ...(await original<typeof import("../../bindings/steps/steps.ts")>()),
  STEP_WORK: 1000,
}));

const open = openSimd();
const { q, k, v, options } = problemOf({ seqLenQ: 70, seqLenKv: 300 });
const slow = { budgetMs: 1e-6 };

/** One asynchronous call of each kind, on an instance of its own, and what is held while it runs. */
const kinds = {
  attention: (heed: Heed) => ({ start: (more: AsyncOptions) => heed.attentionAsync(q, k, v, { ...options, ...more }) }),
  cache: (heed: Heed) => {
    const cache = heed.createKvCache({ numKvHeads: 4, headDim: 24, batch: 2, capacity: 400 });
    cache.append(k, v);
    return { cache, start: (more: AsyncOptions) => cache.attentionAsync(q, { numHeads: 4, ...more }) };
  },
  layer: (heed: Heed) => {
    const { layer, dims, weights } = makeLayer(heed);
    const cache = layer.createCache({ capacity: 700 });
    layer.forward(floats(300 * dims.embedDim, uniform(1)), { cache });
    const x = floats(200 * dims.embedDim, uniform(2));
    const start = (more: AsyncOptions) => layer.forwardAsync(x, { cache, causal: true, ...more });
    return { layer, weights, cache, start };
  },
};

describe.each(Object.entries(kinds))("%s", (_, make) => {
  const abortedAfter = (slices: number, reason: unknown) => {
    const control = new AbortController();
    let left = slices;
    const onProgress = () => {
      if (--left === 0) control.abort(reason);
    };
    return { signal: control.signal, onProgress, ...slow };
  };

  it("ends with the reason of its signal, and leaves nothing behind", async () => {
    const heed = open();
    const { start } = make(heed);
    const { used } = heed.memory;
    for (const slices of [1, 2, 5]) {
      const reason = { slices };
      await expect(start(abortedAfter(slices, reason))).rejects.toBe(reason);
      expect(heed.memory.used).toBe(used);
    }
    expect(bitsOf(await start({}))).toEqual(bitsOf(await make(open()).start({})));
  });

  it("does nothing at all for a signal that is aborted already", async () => {
    const heed = open();
    const { start } = make(heed);
    const { used, peak } = heed.memory;
    const onProgress = vi.fn();
    await expect(start({ signal: AbortSignal.abort("no"), onProgress })).rejects.toBe("no");
    expect(onProgress).not.toHaveBeenCalled();
    expect(heed.memory).toMatchObject({ used, peak });
  });

  it("ends with the error of onProgress", async () => {
    const heed = open();
    const { start } = make(heed);
    const { used } = heed.memory;
    const onProgress = (): never => {
      throw new RangeError("enough");
    };
    await expect(start({ onProgress, ...slow })).rejects.toThrow(/^enough$/);
    expect(heed.memory.used).toBe(used);
  });

  it.each([
    [{ signal: {} }, TypeError, /^"signal" expected an AbortSignal, got/],
    [{ signal: null }, TypeError, /^"signal" expected an AbortSignal, got/],
    [{ onProgress: 1 }, TypeError, /^"onProgress" expected a function, got/],
    [{ budgetMs: 0 }, RangeError, /^"budgetMs" expected a finite number greater than 0, got 0/],
    [{ budgetMs: "8" }, TypeError, /^"budgetMs" expected a number, got/],
    [{ budget: 8 }, TypeError, /^"budget" is no option of .*did you mean "budgetMs"/],
    [{ numHeads: 0 }, RangeError, /^"numHeads" expected/],
    [{ out: new Float32Array(1) }, RangeError, /^"out" expected/],
  ])("rejects %o", async (wrong, kind, message) => {
    const heed = open();
    const { start } = make(heed);
    const { used } = heed.memory;
    const failed = start(wrong as object).catch((error: unknown) => error as Error);
    const error = await failed;
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(message);
    expect(heed.memory.used).toBe(used);
  });

  it("ends with a ReferenceError where the instance is disposed", async () => {
    const heed = open();
    const { start } = make(heed);
    const promise = start(slow);
    heed.dispose();
    await expect(promise).rejects.toThrow(ReferenceError);
  });

  it("lets others make progress beside it", async () => {
    const heed = open();
    const { start } = make(heed);
    const order: string[] = [];
    const other = () => heed.attentionAsync(q, k, v, { ...options, onProgress: () => void order.push("b"), ...slow });
    await Promise.all([start({ onProgress: () => void order.push("a"), ...slow }), other()]);
    // Neither waits for the other to end.
    expect(order.slice(0, 6).sort()).toEqual(["a", "a", "a", "b", "b", "b"]);
    heed.attention(q, k, v, options);
  });

  it("fails where memory cannot grow, and changes nothing", async () => {
    const heed = open(2 ** 20);
    const { start } = make(heed);
    const filled = [];
    try {
      for (;;) filled.push(heed.tensor(500));
    } catch {
      // The memory is full.
    }
    const { used } = heed.memory;
    await expect(start({})).rejects.toThrow(/^"memory" expected to grow/);
    expect(heed.memory.used).toBe(used);
    for (const one of filled) one.dispose();
    await start({});
  });
});

describe("arrays may be changed once the promise is there", () => {
  it("attention: inputs, masks and positions", async () => {
    const heed = open();
    const some = {
      ...options,
      keepMask: { data: new Uint8Array(300).fill(1, 0, 280), shape: [1, 1, 1, 300] },
      bias: { data: floats(300, uniform(4)), shape: [1, 1, 1, 300] },
      alibiSlopes: Float32Array.of(1, 2, 3, 4),
      sinks: Float32Array.of(1, 2, 3, 4),
      queryOffset: Int32Array.of(5, 9),
      kvLengths: Int32Array.of(290, 295),
      causal: true,
    };
    const expected = heed.attention(q, k, v, some);
    const arrays = [q, k, v].map((array) => array.slice()) as [Float32Array, Float32Array, Float32Array];
    const later = heed.attentionAsync(...arrays, { ...some, ...slow });
    const given = [some.keepMask.data, some.bias.data, some.alibiSlopes, some.sinks, some.queryOffset, some.kvLengths];
    for (const array of [...arrays, ...given]) array.fill(0);
    expect(bitsOf(await later)).toEqual(bitsOf(expected));
  });

  it("attention: views of linear memory, whose Tensor goes", async () => {
    const heed = open();
    const expected = heed.attention(q, k, v, options);
    const tensors = [q, k, v].map((array) => {
      const tensor = heed.tensor(array.length);
      tensor.data.set(array);
      return tensor;
    });
    const views = tensors.map(({ data }) => data) as [Float32Array, Float32Array, Float32Array];
    const later = heed.attentionAsync(...views, { ...options, ...slow });
    for (const tensor of tensors) tensor.dispose();
    heed.tensor(100_000).data.fill(NaN);
    expect(bitsOf(await later)).toEqual(bitsOf(expected));
  });

  it("a layer: x, context, masks, lengths and positions, and its defaults", async () => {
    const heed = open();
    const defaults = { sinks: Float32Array.of(1, 2, 3, 4), alibiSlopes: Float32Array.of(1, 2, 3, 4), rotary: {} };
    const { layer, dims } = makeLayer(heed, {}, defaults);
    const inputs = () => ({
      x: floats(2 * 150 * dims.embedDim, uniform(1)),
      context: floats(2 * 200 * dims.embedDim, uniform(2)),
      dropMask: { data: new Uint8Array(200).fill(1, 190), shape: [1, 1, 1, 200] },
      bias: { data: floats(200, uniform(4)), shape: [200] },
      positions: Int32Array.from({ length: 300 }, (_, n) => n % 7),
      contextPositions: Int32Array.from({ length: 400 }, (_, n) => n % 5),
      lengths: Int32Array.of(200, 100),
    });
    const call = ({ x, ...others }: ReturnType<typeof inputs>) => {
      const cache = layer.createCache({ capacity: 300, batch: 2 });
      return [x, { ...others, cache }] as const;
    };
    const expected = layer.forward(...call(inputs()));
    const mine = inputs();
    const [x, given] = call(mine);
    const later = layer.forwardAsync(x, { ...given, ...slow });
    const { context, dropMask, bias, positions, contextPositions, lengths } = mine;
    for (const array of [x, context, dropMask.data, bias.data, positions, contextPositions, lengths]) array.fill(0);
    for (const array of [defaults.sinks, defaults.alibiSlopes]) array.fill(0);
    expect(bitsOf(await later)).toEqual(bitsOf(expected));
  });
});

describe("outputs", () => {
  it("are written at the end: arrays, and Tensors too", async () => {
    const heed = open();
    const expected = heed.attention(q, k, v, { ...options, lse: true });
    const out = heed.tensor(expected.out.length);
    const lse = new Float32Array(expected.lse.length).fill(7);
    out.data.fill(7);
    const untouched = () => {
      expect(out.data.every((x) => x === 7) && lse.every((x) => x === 7)).toBe(true);
    };
    const control = new AbortController();
    const doomed = { ...options, out, lse, signal: control.signal, onProgress: untouched, ...slow };
    const aborted = heed.attentionAsync(q, k, v, doomed);
    setTimeout(() => control.abort("enough"), 1);
    await expect(aborted).rejects.toBe("enough");
    untouched();
    const result = await heed.attentionAsync(q, k, v, { ...options, out, lse, onProgress: untouched, ...slow });
    expect(result.out).toBe(out);
    expect(result.lse).toBe(lse);
    expect(bitsOf({ out: out.data, lse })).toEqual(bitsOf(expected));
  });

  it("are refused where their memory has gone meanwhile, and the other one is not written", async () => {
    const heed = open();
    const out = new Float32Array(q.length).fill(7);
    const lse = new Float32Array(2 * 4 * 70);
    const later = heed.attentionAsync(q, k, v, { ...options, out, lse, ...slow });
    structuredClone(lse, { transfer: [lse.buffer] });
    await expect(later).rejects.toThrow(/^"lse" expected/);
    expect(out.every((x) => x === 7)).toBe(true);
  });
});

describe("what a call uses is held until it ends", () => {
  const held = /in use until that call ends/;

  it("Tensors: q, k, v, out and those of options", async () => {
    const heed = open();
    const tensors = [q, k, v, q, Float32Array.of(1, 2, 3, 4)].map((array) => {
      const tensor = heed.tensor(array.length);
      tensor.data.set(array);
      return tensor;
    });
    const [a, b, c, out, sinks] = tensors as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const bias = { data: heed.tensor(300), shape: [300] };
    const later = heed.attentionAsync(a, b, c, { ...options, out, sinks, bias, ...slow });
    for (const tensor of [...tensors, bias.data]) {
      expect(() => {
        tensor.dispose();
      }).toThrow(held);
    }
    await later;
    for (const tensor of [...tensors, bias.data]) tensor.dispose();
  });

  it("a cache that is read", async () => {
    const { cache, start } = kinds.cache(open());
    const later = start(slow);
    const changes = [
      () => cache.append(k, v),
      () => cache.truncate(1),
      () => cache.reset(),
      () => cache.reorder(Int32Array.of(1, 0)),
      () => cache.dispose(),
    ];
    for (const change of changes) expect(change).toThrow(held);
    expect(cache.length).toBe(300);
    const [fork, again] = [cache.fork(), start({})];
    fork.truncate(1);
    cache.attention(q, { numHeads: 4 });
    await Promise.all([later, again]);
    cache.truncate(1);
    cache.dispose();
  });

  it("a cache that is appended to, and the layer", async () => {
    const { cache, layer, weights, start } = kinds.layer(open());
    const later = start(slow);
    await expect(start({})).rejects.toThrow(held);
    await expect(cache.attentionAsync(new Float32Array(32), { numHeads: 4 })).rejects.toThrow(held);
    expect(() => layer.forward(new Float32Array(24), { cache })).toThrow(held);
    for (const change of [() => cache.dispose(), () => layer.dispose(), () => layer.setWeights(weights)]) {
      expect(change).toThrow(held);
    }
    layer.forward(new Float32Array(24));
    await later;
    expect(cache.length).toBe(500);
    layer.dispose();
    cache.dispose();
  });
});
