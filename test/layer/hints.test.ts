// Errors that say how a thing is written that other libraries write otherwise.
import { load } from "heed";
import { describe, expect, it } from "vitest";

const heed = await load();
const floats = (length: number) => new Float32Array(length);
const square = { weight: floats(64) };
const form = { numHeads: 2, embedDim: 8 };
const layer = (options: object) => () => heed.createMultiHeadAttention({ ...form, ...options });

describe("weights", () => {
  const weights = { q: square, k: square, v: square, out: square };
  using tensor = heed.tensor(64);

  it.each<[string, object, string]>([
    [
      "floats for q",
      { q: floats(64) },
      '"weights.q" expected { weight, bias? }, got a Float32Array: write { weight: … }',
    ],
    ["a Tensor for v", { v: tensor }, '"weights.v" expected { weight, bias? }, got a Tensor: write { weight: … }'],
    [
      "halves for out",
      { out: new Uint16Array(64) },
      '"weights.out" expected { weight, bias? }, got a Uint16Array: write { weight: … }',
    ],
  ])("%s", (_, wrong, message) => {
    const { used } = heed.memory;
    expect(layer({ weights: { ...weights, ...wrong } })).toThrow(new TypeError(message));
    using empty = heed.createMultiHeadAttention(form);
    expect(() => empty.setWeights({ ...weights, ...wrong })).toThrow(new TypeError(message));
    expect(heed.memory.used).toBe(used);
  });

  it("weight in place of weights", () => {
    expect(layer({ weight: weights })).toThrow(
      /^"weight" is no option of createMultiHeadAttention; did you mean "weights"\?$/,
    );
  });

  it("nothing is said where nothing is wrong", () => {
    expect(layer({ weights })).not.toThrow();
    expect(layer({ weights: { ...weights, out: undefined } })).not.toThrow();
    expect(layer({ weights: { ...weights, q: { data: floats(64), shape: [8, 8] } } })).toThrow(
      /^"data" is no option of q/,
    );
    expect(layer({ weights: { ...weights, q: 1 } })).toThrow(/^"weights.q" expected an object, got 1/);
    expect(layer({ weights: { ...weights, q: { ...square, wieght: 1 } } })).toThrow(/^"wieght" is no option of q/);
  });
});

describe("masks", () => {
  // 2 sequences of 3 queries and 5 keys, 4 heads.
  const attend = (mask: object) => () =>
    heed.attention(floats(2 * 3 * 4), floats(2 * 5 * 4), floats(2 * 5 * 4), {
      numHeads: 4,
      headDim: 1,
      batch: 2,
      ...mask,
    });
  const keep = (...shape: number[]) => ({ keepMask: { data: new Uint8Array(shape.reduce((a, b) => a * b)), shape } });
  const padding = "; give padding as kvLengths, or in the shape [2, 1, 1, 5], got 2";

  it("[batch, keys] is padding", () => {
    expect(attend(keep(2, 5))).toThrow(/^"keepMask.shape\[0\]" expected 1 or 3 \(/);
    expect(attend(keep(2, 5))).toThrow(padding);
    expect(attend({ bias: { data: floats(10), shape: [2, 5] } })).toThrow(padding);
    expect(attend(keep(2, 1, 1, 5))).not.toThrow();
  });

  it("other shapes get no hint", () => {
    for (const shape of [
      [2, 4],
      [3, 6],
      [2, 2, 5],
      [2, 4, 3, 6],
    ]) {
      expect(attend(keep(...shape))).toThrow(/\]\), got \d$/);
    }
  });

  it("dropMask of a layer", () => {
    using made = heed.createMultiHeadAttention({ ...form, weights: { q: square, k: square, v: square } });
    const dropMask = { data: new Uint8Array(10), shape: [2, 5] };
    const call = () => made.forward(floats(2 * 3 * 8), { batch: 2, context: floats(2 * 5 * 8), dropMask });
    expect(call).toThrow(/^"dropMask.shape\[0\]" expected 1 or 3 \(/);
    expect(call).toThrow(padding);
  });
});
