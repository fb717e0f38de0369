// Every function with zones of a known pattern on both sides of each block.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import type { Heed } from "../../bindings/heed.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinations } from "../support/combinations.ts";
import { guard } from "../support/guarded.ts";
import type { Problem } from "../support/problems.ts";
import { scenarios } from "../support/scenarios/index.ts";
import { shareOut } from "../support/shared-out.ts";
import { runs } from "../support/sweep.ts";

/** Attention and its weights over Tensors, in guarded blocks each, and over arrays. */
function attend(heed: Heed, { q, k, v, options }: Problem): void {
  const [qIn, kIn, vIn] = [q, k, v].map((array) => {
    const tensor = heed.tensor(array.length);
    tensor.data.set(array);
    return tensor;
  }) as [ReturnType<Heed["tensor"]>, ReturnType<Heed["tensor"]>, ReturnType<Heed["tensor"]>];
  const { out, lse } = heed.attention(q, k, v, { ...options, lse: true });
  const outputs = { out: heed.tensor(out.length), lse: heed.tensor(lse.length) };
  heed.attention(qIn, kIn, vIn, { ...options, ...outputs });
  const { weights } = heed.attentionWeights(q, k, { ...options, lse });
  const target = heed.tensor(weights.length);
  heed.attentionWeights(qIn, kIn, { ...options, weights: target, entropy: true });
  // Releases the blocks, which are judged then.
  for (const tensor of [qIn, kIn, vIn, outputs.out, outputs.lse, target]) tensor.dispose();
}

forEachBuild((name, open) => {
  const openGuarded = () => {
    const heed = open();
    return { heed, judge: guard(heed[INSTANCE].arena) };
  };

  describe("no function writes beside a block", () => {
    it.each(Object.keys(scenarios))("%s", (name) => {
      const { heed, judge } = openGuarded();
      const scenario = scenarios[name]!(heed);
      scenario.act();
      scenario.state();
      judge();
      heed.dispose();
    });

    it.each(Object.keys(scenarios))("%s, cut into items", (name) => {
      const { heed, judge } = openGuarded();
      shareOut(heed);
      const scenario = scenarios[name]!(heed);
      scenario.act();
      scenario.state();
      judge();
      heed.dispose();
    });

    it.each(["whole", "cut into items"])("attention and its weights, %s, in any combination of options", (how) => {
      const { heed } = openGuarded();
      if (how !== "whole") shareOut(heed);
      const property = fc.property(combinations, (problem) => attend(heed, problem));
      fc.assert(property, { seed: 20261129, numRuns: runs(500) / (name === "debug" ? 5 : 1) });
    });
  });

  it.each([-1, -64, 100, 163])("the guard sees a write %s bytes into a block of 100", (offset) => {
    const { heed, judge } = openGuarded();
    const { arena } = heed[INSTANCE];
    const ptr = arena.allocate(100);
    new Uint8Array(arena.buffer, ptr, 100).fill(1);
    new Uint8Array(arena.buffer)[ptr + offset] = 1;
    expect(judge).toThrow(`a write beside the block at ${ptr}`);
    expect(() => arena.release(ptr)).toThrow(`a write beside the block at ${ptr}`);
  });
});
