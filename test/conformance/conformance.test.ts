import { existsSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { forEachBuild } from "../support/builds.ts";
import { throughCache } from "./cached.ts";
import type { HalfArray } from "../../bindings/memory/data.ts";
import { floatsOf as widened } from "../support/halves.ts";
import { type CaseRef, type DType, HALVES, type Manifest, type Value, type Values, valueOf } from "./load.ts";
import { isOperator, runOperator } from "./operators.ts";
import { torchLayer } from "./torch.ts";

// Third-party cases. They are not part of the project. HEED_CONFORMANCE names their folder; else they lie beside the
// project, or where `npm run conformance` writes the public ones.
const given = process.env.HEED_CONFORMANCE;
const places = [new URL("../../../shared/conformance/", import.meta.url), new URL("vectors/", import.meta.url)];
const folder = given ? pathToFileURL(`${given}/`) : places.find((place) => existsSync(place));
const suites = [
  "onnx-attention",
  "onnx-attention-window",
  "onnx-rotary",
  "ort-gqa",
  "ort-web-attention",
  "stories260K-attention",
  "torch-transformer-layer",
] as const;
type Suite = (typeof suites)[number];

const isLayer = ({ op }: CaseRef): boolean => op.startsWith("TorchTransformer");

/** Why a case cannot be run, if so. */
function reasonToSkip(test: CaseRef): string | undefined {
  if (test.skip) return test.skip;
  if (!isOperator(test) && !isLayer(test)) return `${test.op} is no operator of heed`;
  return undefined;
}

/** The most that two neighbours of a type of 16 bits differ, relative to the smaller one. */
const UNIT: Partial<Record<DType, number>> = { float16: 2 ** -10, bfloat16: 2 ** -7 };

/** Expected values that are given to fewer digits than the manifest says. */
const rounded: Record<string, number> = {
  // 9, where exact is 9.00036; ONNX Runtime's own runner compares within 1e-3.
  ["multihead-attention: MultiHeadAttention Basic, one head and head-size 4 " +
  "with pastKey and pastValue; Key and Value 4-dims / T[0]"]: 1e-3,
};

/**
 * How far two implementations may be apart that round to f32 after each of 16 operations on the largest input: a
 * rounding errs up or down, so that the errors of n of them add up like √n, and no case sums more than 256 terms. In 16
 * bits heed rounds once: the neighbour of the expected value is as far as it goes, within the 1e-3 of ONNX's own runner.
 */
function toleranceOf(test: CaseRef, inputs: Values, output: Value): (expected: number) => number {
  const unit = UNIT[output.dtype];
  const { tolerance = unit ? { rtol: unit, atol: 1e-7 } : { rtol: 0, atol: rounded[test.name] ?? 0 } } = test;
  const sizes = Object.values(inputs).flatMap((value) =>
    value?.dtype.includes("float") ? Array.from(value.data, Math.abs).filter(Number.isFinite) : [],
  );
  const largest = sizes.reduce((most, x) => Math.max(most, x), 1);
  const own = unit ? 0 : 2 * 16 * 2 ** -24 * largest;
  return (expected) => Math.max(own, tolerance.atol + tolerance.rtol * Math.abs(expected));
}

function run(heed: Heed, test: CaseRef, bin: ArrayBuffer): void {
  const valuesOf = (refs: CaseRef["inputs"]) =>
    Object.fromEntries(Object.entries(refs).map(([name, ref]) => [name, valueOf(bin, ref)]));
  const inputs = valuesOf(test.inputs);
  const got = isLayer(test) ? torchLayer(heed, inputs, test) : runOperator(heed, inputs, test);
  for (const [name, expected] of Object.entries(valuesOf(test.outputs))) {
    const { shape, ...floats } = got[name]!;
    expect(shape, name).toEqual(expected.shape);
    const actual = floatsOf(floats as HalfArray, expected, name);
    const tolerance = toleranceOf(test, inputs, expected);
    expected.data.forEach((x, at) => {
      if (actual[at] === x) return; // −Infinity, where a score is masked
      if (!(Math.abs(actual[at]! - x) <= tolerance(x))) expect(actual[at], `${name}[${at}]`).toBe(x);
    });
  }
}

/** The floats of an output, which must have the type of the expected one. */
function floatsOf({ data, dtype }: HalfArray, expected: Value, name: string): Float32Array {
  expect(dtype, `the type of ${name}`).toBe(HALVES[expected.dtype]);
  return expected.halves ? widened({ data: data, dtype }) : (data as unknown as Float32Array);
}

function read(folder: URL, suite: Suite): { cases: CaseRef[]; bytes: ArrayBuffer } {
  const { cases, bin } = JSON.parse(readFileSync(new URL(`${suite}.json`, folder), "utf8")) as Manifest;
  return { cases, bytes: new Uint8Array(readFileSync(new URL(bin, folder))).buffer };
}

if (!folder) {
  it("third-party cases", ({ skip }) =>
    skip("npm run conformance fetches the public ones; HEED_CONFORMANCE names another folder"));
} else {
  const [there, absent] = [true, false].map((wanted) =>
    suites.filter((suite) => existsSync(new URL(`${suite}.json`, folder)) === wanted),
  ) as [Suite[], Suite[]];
  it("are there at all", () => expect(there).not.toEqual([]));
  for (const suite of absent) it(suite, ({ skip }) => skip(`${suite}.json is not in ${folder.pathname}`));

  forEachBuild((_, open) => {
    const heed = open();
    describe.each(there)("%s", (suite) => {
      const { cases, bytes } = read(folder, suite);
      for (const test of cases) {
        const reason = reasonToSkip(test);
        const title = [test.name, ...(reason ? [`skipped: ${reason}`] : [])].join(", ");
        it.skipIf(reason !== undefined)(title, () => run(heed, test, bytes));
      }
    });

    if (!there.includes("onnx-attention")) return;
    describe("onnx-attention, past and padding in a KvCache", () => {
      const { cases, bytes } = read(folder, "onnx-attention");
      for (const test of cases) {
        const { past_key: past, nonpad_kv_seqlen: nonpad, K } = test.inputs;
        if (!past && !nonpad) continue;
        const dtype = K?.dtype === "float16" ? "f16" : "f32";
        it(`${test.name}, ${dtype}`, () => run(throughCache(heed, past?.shape[2] ?? 0, dtype), test, bytes));
      }
    });
  });
}
