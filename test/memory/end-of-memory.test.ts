// Every function with each of its blocks in turn at the end of the 4 GiB that wasm32 addresses, and across 2³¹, where
// addresses become negative numbers: the same bits as at low addresses.
//
// A comparison that wraps may loop for ever. So a case first runs on the checked build, which traps at the first access
// outside its blocks, and only then on the build itself.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { bytesOf, heedOf, modulesOf } from "../support/builds.ts";
import { checkedBuild } from "../support/checked-build.ts";
import { combinations } from "../support/combinations.ts";
import { type Edge, putAtEdge, wholeMemory } from "../support/edges.ts";
import { type Scenario, scenarios } from "../support/scenarios/index.ts";
import { copies, stateless } from "../support/scenarios/scenario.ts";
import { isFull, runs, thinned } from "../support/sweep.ts";

const memory = wholeMemory();
// In the quick tier, what differs in TypeScript alone is left out.
const names: Record<Edge, string[]> = {
  "the end of memory": thinned(
    Object.keys(scenarios),
    (name) =>
      !/^(create|cache|f32 cache|f16 cache|forward with)/.test(name) || / attention(Weights)?$|append$/.test(name),
  ),
  "2^31": thinned(Object.keys(scenarios), (name) => !/create|cache|forward|onnx/.test(name)),
};

describe.each(isFull ? (["simd", "relaxed"] as const) : (["simd"] as const))("%s", async (build) => {
  if (!memory || !WebAssembly.validate(bytesOf(build))) {
    it("any call", ({ skip }) => {
      skip(memory ? "this engine does not run the build" : "there are no 4 GiB of address space");
    });
    return;
  }
  const openChecked = await checkedBuild(build);
  const modules = modulesOf(build).map((bytes) => new WebAssembly.Module(bytes));

  const run = (scenario: Scenario) => [scenario.act(), scenario.state()];

  /** Runs a scenario with one block at an edge; -1 for none. Gives how many blocks there were, too. */
  const runChecked = (make: (heed: Heed) => Scenario, n: number, edge: Edge) => {
    let count = () => 0;
    const { heed } = openChecked({ memory, prepare: (heed) => (count = putAtEdge(heed, n, edge)) });
    return { seen: run(make(heed)), blocks: count() };
  };
  const runPlain = (make: (heed: Heed) => Scenario, n: number, edge: Edge) => {
    const heed = heedOf(
      modules.map((module) => new WebAssembly.Instance(module, { env: { memory } }).exports),
      memory,
    );
    putAtEdge(heed, n, edge);
    return run(make(heed));
  };

  describe.each(["the end of memory", "2^31"] as const)("at %s", (edge) => {
    it.each(names[edge])("%s", (name) => {
      const make = scenarios[name]!;
      const { seen, blocks } = runChecked(make, -1, edge);
      expect(blocks).toBeGreaterThan(0);
      for (let n = 0; n < blocks; n++) {
        expect(runChecked(make, n, edge).seen, `block ${n} at ${edge}, checked`).toEqual(seen);
        expect(runPlain(make, n, edge), `block ${n} at ${edge}`).toEqual(seen);
      }
    });

    it("attention and its weights, in any combination of options", () => {
      const property = fc.property(combinations, fc.nat(), ({ q, k, v, options }, number) => {
        const make = (heed: Heed) =>
          stateless(() => [
            ...copies(heed.attention(q, k, v, { ...options, lse: true })),
            ...copies(heed.attentionWeights(q, k, { ...options, entropy: true })),
          ]);
        const { seen, blocks } = runChecked(make, -1, edge);
        const n = number % blocks;
        expect(runChecked(make, n, edge).seen).toEqual(seen);
        expect(runPlain(make, n, edge)).toEqual(seen);
      });
      fc.assert(property, { seed: 20261130, numRuns: runs(200) });
    });
  });
});
