// What holds for all functions of transformer blocks: arrays or Tensors, out given, fresh or in place, rows alone or
// beside others, and memory.
import { expect, it } from "vitest";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import type { Blocks } from "../../bindings/transformer/blocks.ts";
import { blocksOf, forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";

type Rows = Float32Array | Tensor;
/** The rows of x, of what is beside it, and where to write. */
type Call = (blocks: Blocks, x: Rows, beside: Rows, out?: Rows) => { out: Rows };

const dim = 10;
const rows = 7;
const [weight, bias] = [floats(dim, uniform(2)), floats(dim, uniform(3))];

/** Functions by row; `width` is the floats of a row of out. Those "of itself" take x as out. */
const calls: Record<string, { call: Call; width: number }> = {
  "rmsNorm of itself": {
    call: (blocks, x, residual, out) => blocks.rmsNorm(x, { weight, residual, out }),
    width: dim,
  },
  "layerNorm of itself": {
    call: (blocks, x, residual, out) => blocks.layerNorm(x, { weight, bias, residual, out }),
    width: dim,
  },
  "l2Normalize of itself": { call: (blocks, x, _, out) => blocks.l2Normalize(x, { dim, out }), width: dim },
  "activate of itself": {
    call: (blocks, x, up, out) => blocks.activate(x, { activation: "geglu-tanh", up, out }),
    width: dim,
  },
  "activate in halves": {
    call: (blocks, x, _, out) => blocks.activate(x, { activation: "swiglu", dim: dim / 2, out }),
    width: dim / 2,
  },
  "pool of each row": {
    call: (blocks, x, _, out) => blocks.pool(x, { dim, batch: x.length / dim, out }),
    width: dim,
  },
  "pool of each last row": {
    call: (blocks, x, _, out) => blocks.pool(x, { dim, batch: x.length / dim, pooling: "last", out }),
    width: dim,
  },
  "softmax of itself": { call: (blocks, x, _, out) => blocks.softmax(x, { dim, out }), width: dim },
  "scaleLogits of itself": { call: (blocks, x, _, out) => blocks.scaleLogits(x, { softcap: 2, out }), width: dim },
};
const names = Object.keys(calls);

const next = uniform(5);
const x = floats(rows * dim, next);
const beside = floats(rows * dim, next);

forEachBuild((_, open) => {
  const heed = open();
  const blocks = blocksOf(heed);
  const tensorOf = (array: Float32Array): Tensor => {
    const tensor = heed.tensor(array.length);
    tensor.data.set(array);
    return tensor;
  };

  it.each(names)("%s has the same bits for arrays and Tensors, with any out, and keeps no memory", (name) => {
    const { call, width } = calls[name]!;
    const { used } = heed.memory;
    const expected = call(blocks, x, beside).out as Float32Array;
    expect(expected).toHaveLength(rows * width);
    const given = new Float32Array(rows * width);
    expect(call(blocks, x, beside, given).out).toBe(given);
    expect(given).toEqual(expected);
    using xIn = tensorOf(x);
    using besideIn = tensorOf(beside);
    using outIn = heed.tensor(rows * width);
    expect(call(blocks, xIn, besideIn, outIn).out).toBe(outIn);
    expect(outIn.data).toEqual(expected);
    expect(call(blocks, xIn, besideIn).out).toEqual(expected);
    expect([xIn.data, besideIn.data]).toEqual([x, beside]);
    if (name.endsWith("itself")) {
      const array = x.slice();
      call(blocks, array, beside, array);
      expect(array).toEqual(expected);
      call(blocks, xIn, besideIn, xIn);
      expect(xIn.data).toEqual(expected);
    }
    for (const tensor of [xIn, besideIn, outIn]) tensor.dispose();
    expect(heed.memory.used).toBe(used);
  });

  it.each(names)("%s gives a row the same bits whatever is beside it", (name) => {
    const { call, width } = calls[name]!;
    const expected = call(blocks, x, beside).out as Float32Array;
    for (const [from, to] of [
      [0, 1],
      [3, 5],
      [6, 7],
    ] as const) {
      const part = (array: Float32Array) => array.subarray(from * dim, to * dim);
      expect(call(blocks, part(x), part(beside)).out).toEqual(expected.subarray(from * width, to * width));
    }
    // A row of NaN leaves the others as they were.
    const spoiled = x.slice().fill(NaN, 2 * dim, 3 * dim);
    const got = call(blocks, spoiled, beside).out as Float32Array;
    got.set(expected.subarray(2 * width, 3 * width), 2 * width);
    expect(got).toEqual(expected);
  });

  it.each(names)("%s of no rows is nothing", (name) => {
    const { call } = calls[name]!;
    if (!name.startsWith("pool")) {
      expect(call(blocks, new Float32Array(0), new Float32Array(0)).out).toHaveLength(0);
    }
  });
});
