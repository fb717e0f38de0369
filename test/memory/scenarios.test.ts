// The scenarios forget no public function, so that the other tests of this folder do not either.
import { readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import { Heed } from "../../bindings/heed.ts";
import { KvCache } from "../../bindings/kv-cache/kv-cache.ts";
import { PackedLinear } from "../../bindings/layer/packed-linear.ts";
import { MultiHeadAttention } from "../../bindings/layer/multi-head-attention.ts";
import { Tensor } from "../../bindings/memory/tensor.ts";
import { Blocks } from "../../bindings/transformer/blocks.ts";
import * as onnx from "../../bindings/onnx/index.ts";
import { openSimd } from "../support/builds.ts";
import { scenarios } from "../support/scenarios/index.ts";

it("call every method of every class", () => {
  const spies = [Blocks, Heed, KvCache, MultiHeadAttention, PackedLinear, Tensor].flatMap((Class) =>
    Object.entries(Object.getOwnPropertyDescriptors(Class.prototype))
      .filter(([name, { value }]) => typeof value === "function" && name !== "constructor")
      // Asynchronous calls have tests of their own, test/asynchronous/, and so has what they alone use.
      .filter(([name]) => !/Async$|^hold$/.test(name))
      .map(([name]) => ({
        name: `${Class.name}.${name}`,
        spy: vi.spyOn(Class.prototype as unknown as Record<string, () => void>, name),
      })),
  );
  expect(spies.length).toBeGreaterThan(25);
  const open = openSimd();
  for (const make of Object.values(scenarios)) {
    const heed = open();
    const scenario = make(heed);
    scenario.act();
    scenario.state();
    heed.dispose();
  }
  const forgotten = spies.filter(({ spy }) => spy.mock.calls.length === 0).map(({ name }) => name);
  vi.restoreAllMocks();
  expect(forgotten).toEqual([]);
});

it("call every operator of heed/onnx", () => {
  const source = readFileSync(new URL("../support/scenarios/operators.ts", import.meta.url), "utf8");
  const operators = Object.keys(onnx).filter((name) => /^onnx/.test(name));
  expect(operators.length).toBeGreaterThanOrEqual(4);
  expect(operators.filter((name) => !source.includes(`${name}(heed`))).toEqual([]);
});
