// What a model loses by weights in int8 and int4: docs/layers-and-importers.md has the figures.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { load } from "heed";
import { expect, it } from "vitest";
import { FULL } from "../../examples/evict/policies.ts";
import { score, write } from "../../examples/evict/score.ts";
import { parseCheckpoint } from "../../examples/generate/checkpoint.ts";
import { Model } from "../../examples/generate/model.ts";
import { sampler } from "../../examples/generate/sample.ts";

const models = process.env.HEED_MODELS ?? fileURLToPath(new URL("../../../shared/models", import.meta.url));
const MODEL = join(models, "stories260K.bin");

it("stories260K loses less than 1 % of perplexity in int8, and less than 30 % in int4", async ({ skip }) => {
  if (!existsSync(MODEL)) skip("put stories260K.bin in ../shared/models or name its folder in HEED_MODELS");
  using heed = await load({ variant: "simd" });
  const checkpoint = parseCheckpoint(readFileSync(MODEL), MODEL);
  const models = (["f32", "int8", "q4"] as const).map((dtype) => new Model(heed, checkpoint, dtype));
  const text = write(models[0]!, sampler(1, 100));
  const [f32, int8, q4] = models.map((model) => score(model, [text], FULL).loss);
  expect(Math.exp(int8! - f32!)).toBeLessThan(1.01);
  expect(Math.exp(q4! - f32!)).toBeLessThan(1.3);
});
