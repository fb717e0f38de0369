// The arithmetic of the benchmark: what it counts, compares and prints. Nothing is timed.
import { expect, test } from "vitest";
import { type Timing, bestForms, measure, median } from "../../bench/harness/measure.ts";
import { makeReference, maxError } from "../../bench/harness/reference.ts";
import { formatTable, gflops } from "../../bench/harness/report.ts";
import { SHAPES, flops, makeProblem, sees, shape } from "../../bench/cases/shapes.ts";

test("a shape is read from its name", () => {
  expect(shape("1×32/8×512×384×128", { causal: true })).toEqual({
    name: "1×32/8×512×384×128 causal",
    batch: 1,
    numHeads: 32,
    numKvHeads: 8,
    seqLenQ: 512,
    seqLenKv: 384,
    headDim: 128,
    causal: true,
  });
  expect(new Set(SHAPES.map(({ name }) => name)).size).toBe(SHAPES.length);
});

test("flops are counted for the pairs of query and key that see each other", () => {
  const count = (dims: string, extra = {}): number => flops(makeProblem(shape(dims, extra)));
  expect(count("2×3×5×7×8")).toBe(4 * 2 * 3 * 5 * 7 * 8);
  expect(count("1×4/2×6×6×8", { causal: true })).toBe(4 * 4 * 21 * 8);
  expect(count("1×1×5×5×8", { window: 1 })).toBe(4 * (3 * 5 - 2) * 8);
  expect(count("2×1×3×4×8", { kvLengths: [4, 1] })).toBe(4 * 3 * 5 * 8);
});

test("inputs and masks are the same at every run", () => {
  const make = (): ReturnType<typeof makeProblem> => makeProblem(shape("2×1×3×40×8", { keyMask: true }));
  expect(make()).toEqual(make());
  expect(Array.from({ length: 40 }, (_, j) => sees(make(), 1, 0, j))).toContain(false);
});

test("the reference is attention, and sees a wrong value", () => {
  const problem = makeProblem(shape("1×2/1×3×3×4", { causal: true }));
  const reference = makeReference(problem);
  expect(reference.offsets).toEqual([0, 4, 8, 12, 16, 20]);
  // The first query sees one key alone, so both heads of its row are that key's value.
  expect([...reference.rows.subarray(0, 8)]).toEqual([...problem.v.subarray(0, 4), ...problem.v.subarray(0, 4)]);
  const out = Float32Array.from(reference.rows);
  expect(maxError(out, reference)).toBeLessThan(2 ** -23);
  out[23]! += 1;
  expect(maxError(out, reference)).toBeGreaterThan(reference.tolerance);
  expect(maxError(out.fill(NaN), reference)).toBeNaN();
});

test("medians, rates and the best form of a peer", () => {
  expect([median([3, 1, 2]), median([4, 1, 3, 2]), gflops(2e9, 100)]).toEqual([2, 2.5, 20]);
  const timing = (name: string, form: string, ms: number): Timing => ({
    name,
    form,
    kind: "wasm",
    calls: 1,
    median: ms,
    best: ms,
  });
  const timings = [timing("a", "one", 3), timing("b", "", 9), timing("a", "two", 2)];
  expect(bestForms(timings).map(({ name, form }) => name + form)).toEqual(["atwo", "b"]);
});

test("everyone has turns until the budget is used, and what is too slow is not called again", async () => {
  let calls = 0;
  const entrant = { form: "", kind: "js" as const, run: () => calls++ };
  const slow = { ...entrant, name: "slow", firstCall: 1000, run: () => expect.unreachable() };
  const effort = { warmUp: 1, budget: 5, turn: 1 };
  const [fast, once] = await measure([{ ...entrant, name: "fast" }, slow], effort, () => undefined);
  expect(calls).toBeGreaterThan(fast!.calls);
  expect(once).toMatchObject({ name: "slow", calls: 1, median: 1000, best: 1000 });
});

test("the table lines up", () => {
  expect(
    formatTable(
      ["", "ms", ""],
      [
        ["heed", "1.25", "ok"],
        ["x", "10", ""],
      ],
    ),
  ).toBe(["        ms", "heed  1.25  ok", "x       10"].join("\n"));
});
