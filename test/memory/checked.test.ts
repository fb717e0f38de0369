// Every function on builds that trap on any address outside the blocks of its call.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { bytesOf } from "../support/builds.ts";
import { type CheckedHeed, checkedBuild } from "../support/checked-build.ts";
import { combinations } from "../support/combinations.ts";
import type { Problem } from "../support/problems.ts";
import { scenarios } from "../support/scenarios/index.ts";
import { shareOut } from "../support/shared-out.ts";
import { isFull, runs } from "../support/sweep.ts";

/** A Tensor with these floats. */
function tensorOf({ heed }: CheckedHeed, array: Float32Array) {
  const tensor = heed.tensor(array.length);
  tensor.data.set(array);
  return tensor;
}

/** Attention, and all of its weights, over arrays and then over Tensors. */
function attend(checked: CheckedHeed, { q, k, v, options }: Problem): void {
  const { heed, call } = checked;
  const { lse } = call(() => heed.attention(q, k, v, { ...options, lse: true }));
  call(() => heed.attentionWeights(q, k, { ...options, lse, entropy: true }));
  const [qIn, kIn, vIn] = [q, k, v].map((array) => tensorOf(checked, array));
  const out = heed.tensor(heed.attention(q, k, v, options).out.length);
  call(() => heed.attention(qIn!, kIn!, vIn!, { ...options, out }));
  call(() => heed.attentionWeights(qIn!, kIn!, { ...options, reduce: "keySum" }));
  for (const tensor of [qIn!, kIn!, vIn!, out]) tensor.dispose();
}

// The quick tier takes the build that every engine runs.
const builds = isFull ? (["debug", "simd", "relaxed"] as const) : (["simd"] as const);

describe.each(builds)("the %s build touches nothing but the blocks of its call", async (build) => {
  if (!WebAssembly.validate(bytesOf(build))) {
    it("any call", ({ skip }) => {
      skip("this engine does not run the build");
    });
    return;
  }
  const open = await checkedBuild(build);

  const names = Object.keys(scenarios);
  it.each([...names, ...names.map((name) => `${name}, cut into items`)])("%s", (title) => {
    const name = title.replace(", cut into items", "");
    const checked = open();
    if (title !== name) shareOut(checked.heed);
    const scenario = scenarios[name]!(checked.heed);
    checked.call(() => scenario.act());
    scenario.state();
    checked.heed.dispose();
  });

  it.each(["whole", "cut into items"])("attention and its weights, %s, in any combination of options", (how) => {
    const checked = open();
    if (how !== "whole") shareOut(checked.heed);
    const property = fc.property(combinations, (problem) => attend(checked, problem));
    fc.assert(property, { seed: 20261128, numRuns: runs(300) / (build === "debug" ? 3 : 1) });
    expect(checked.checked()).toBeGreaterThan(10 ** 6);
  });
});

describe("the checker", async () => {
  const open = await checkedBuild("simd");

  /** Calls a kernel by hand on two blocks of 64 bytes, and one that is there before. */
  function byHand(run: (kernels: CheckedHeed["heed"][typeof INSTANCE]["kernels"], blocks: number[]) => void) {
    const { heed, call } = open();
    const { arena, kernels } = heed[INSTANCE];
    const foreign = arena.allocate(64);
    const theirs = arena.allocate(64);
    return () => call(() => run(kernels, [foreign, theirs, arena.allocate(64), arena.allocate(64)]));
  }

  it("lets kernels use what the call has allocated, and what they are handed", () => {
    byHand((kernels, [, theirs, mine]) => {
      kernels.divideRow(mine!, 16, 2);
      kernels.divideRow(theirs!, 16, 2);
      kernels.topOfRow(mine!, theirs!, mine! + 32, 8, 4);
    })();
  });

  it("traps on a write behind a block, and before one", () => {
    expect(byHand((kernels, [, , mine]) => kernels.divideRow(mine!, 17, 2))).toThrow(
      /^divideRow: write of 4 bytes at \d+, outside its blocks$/,
    );
    expect(byHand((kernels, [, , mine]) => kernels.divideRow(mine! + 4, 16, 2))).toThrow(/^divideRow: write/);
    expect(byHand((kernels, [, , mine]) => kernels.divideRow(mine! - 4, 1, 2))).toThrow(/^divideRow: /);
  });

  it("lets kernels read up to 16 bytes behind a block, and no more", () => {
    /** The largest of a row of four floats that begins `offset` bytes into a block. */
    const top = (offset: number) =>
      byHand((kernels, [, , mine, other]) => kernels.topOfRow(mine!, mine! + 32, other! + offset, 4, 4));
    top(48)();
    top(64)();
    expect(top(68)).toThrow(/^topOfRow: read of 4 bytes/);
  });

  it("traps on a block in use that is foreign to the call", () => {
    /** Packs a weight of two rows, of which the second stands `rowStride` bytes behind the first. */
    const pack = (rowStride: (foreign: number, theirs: number) => number) =>
      byHand((kernels, [foreign, theirs, mine]) => {
        kernels.packPanels(mine!, theirs!, 1, 2, rowStride(foreign!, theirs!), 4);
      });
    pack(() => 4)();
    expect(pack((foreign, theirs) => foreign - theirs)).toThrow(/^packPanels: read of 4 bytes/);
  });

  it("traps on a write to what a call only reads", () => {
    const { heed, call } = open();
    const { arena, kernels } = heed[INSTANCE];
    const [out, x] = [arena.allocate(64), arena.allocate(64)];
    const linear = (rowStride: number) => () =>
      call(() => {
        const [panels, scratch] = [arena.allocate(64), arena.allocate(kernels.linearScratchBytes())];
        kernels.linear(out, x, panels, 0, scratch, 2, 1, 1, rowStride, 4, false);
      });
    linear(4)();
    expect(linear(x - out)).toThrow(/^linear: write of 4 bytes/);
  });

  it("traps where pages of a cache are missing from the table", () => {
    const { heed, call } = open();
    const cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 400 });
    cache.append(new Float32Array(300 * 8), new Float32Array(300 * 8));
    const { kernels } = heed[INSTANCE];
    const attend = kernels.attend.bind(kernels);
    const query = () => call(() => cache.attention(new Float32Array(8), { numHeads: 1 }));
    query();
    const memory = heed[INSTANCE].arena.memory;
    kernels.attend = (args, ...rest) => {
      // The second page stands where the first does not.
      const pages = new Uint32Array(memory.buffer, args, 16)[9]!;
      new Uint32Array(memory.buffer, pages, 2)[1]! += 2 ** 20;
      return attend(args, ...rest);
    };
    expect(query).toThrow(/^attend: read/);
  });
});
