// The arithmetic of the tables that `npm run bench -- --threads`, `--async` and `--micro` print. No speed is measured.
import { expect, test } from "vitest";
import { type MicroEntry, formatMicro, microBars, microRows } from "../../bench/cases/micro-report.ts";
import { THREAD_CASES } from "../../bench/cases/shapes.ts";
import { cachesBelow, costOf, formatCaches } from "../../bench/cases/small-caches-report.ts";
import { type Measured, formatThreads, threadBars, threadResult } from "../../bench/cases/threads-report.ts";
import { check } from "../../bench/harness/check.ts";
import type { Contender } from "../../bench/harness/entrant.ts";
import { type Timing, runFor } from "../../bench/harness/measure.ts";
import { STEPS, nameOfTile, tileArguments, tileFlops, tileWat } from "../../bench/harness/tile.ts";
import { type TraceEvent, tasksBetween } from "../../bench/harness/trace.ts";
import { parseOptions, threadCounts } from "../../bench/options.ts";

test("numbers of threads are read from a list, and one is always among them", () => {
  expect(parseOptions(["--threads"]).threads).toBe("1,2,all");
  expect(parseOptions(["--threads", "--quick"])).toMatchObject({ threads: "1,2,all", quick: true });
  expect(parseOptions(["--threads", "all"]).threads).toBe("all");
  expect(parseOptions(["--threads", "1,2,4"]).threads).toBe("1,2,4");
  expect(parseOptions([]).threads).toBeUndefined();
  expect(threadCounts("1,2,all", 2)).toEqual([1, 2]);
  expect(threadCounts("1,2,all", 1)).toEqual([1, 2]);
  expect(threadCounts("all,3", 8)).toEqual([1, 3, 8]);
});

test.each(["0", "65", "1,,2", "two", "1.5", "-1", ""])('"%s" is no list of threads', (list) => {
  const message = `--threads expected numbers from 1 to 64 or "all", got ${JSON.stringify(list)}`;
  expect(() => parseOptions([`--threads=${list}`])).toThrow(message);
});

const timing = (name: string, kind: Timing["kind"], median: number, best = median): Timing => ({
  name,
  form: "",
  kind,
  calls: 1,
  median,
  best,
});

const measured = (name: string, threads: number, median: number, best = median): Measured => ({
  ...timing(name, name.startsWith("heed") ? "heed" : "wasm", median, best),
  threads,
});

test("threads gain on one thread, and are compared with as many of onnxruntime-web", () => {
  const [one] = THREAD_CASES;
  const limits = [
    { name: "limit", threads: 1, rate: 50 },
    { name: "limit", threads: 2, rate: 100 },
  ];
  const all = [
    measured("heed simd", 1, 8, 8),
    measured("heed simd", 2, 5, 4),
    measured("onnxruntime-web", 1, 16),
    measured("onnxruntime-web", 2, 7.5),
    { ...measured("heed simd", 2, 10), isBeside: true },
  ];
  const result = threadResult(one!, 2e8, all, limits, new Map([["heed simd, 2", 1e-7]]));
  expect(result.unit).toBe("GFLOP/s");
  expect(result.rows[1]).toMatchObject({
    rate: 40,
    percentOfLimit: 40,
    overOne: 1.6,
    overOneBest: 2,
    besideOne: 1.6,
    overWeb: 1.5,
    maxError: 1e-7,
  });
  expect(result.rows).toHaveLength(4);
  expect(threadBars([result], THREAD_CASES)).toEqual([
    { what: `${one!.what}, heed simd, 2 threads × one (side by side 1.60)`, value: 2, atLeast: one!.atLeast },
    { what: `${one!.what}, heed simd, 2 threads × onnxruntime-web ÷ the same of one`, value: 0.75, atLeast: 1 },
  ]);
  const [head] = formatThreads(result).split("\n");
  expect(head).toBe(`${one!.what}   limit: 50.0 on 1, 100.0 (2.00×) on 2 threads, GFLOP/s`);
});

test("more threads than two must not lose, and whoever has no peer or no single thread has no bar", () => {
  const [one] = THREAD_CASES;
  const limits = [1, 4].map((threads) => ({ name: "limit", threads, rate: 1 }));
  const all = [measured("heed simd", 1, 8), measured("heed simd", 4, 9), measured("heed relaxed", 4, 1)];
  const result = threadResult({ what: one!.what, kind: "decode" }, 1e6, all, limits, new Map());
  expect(result.unit).toBe("GB/s");
  const bars = threadBars([result], THREAD_CASES);
  expect(bars).toEqual([{ what: `${one!.what}, heed simd, 4 threads × one`, value: 8 / 9, atLeast: 0.97 }]);
});

test("heed is compared with its own bare tile, and everything with the first limit", () => {
  const entries: MicroEntry[] = [
    { what: "registers", kind: "limit", flops: 50e6 },
    { what: "6×2 relaxed_madd", kind: "tile", flops: 40e6 },
    { what: "heed", kind: "heed", flops: 72e6, tile: "6×2 relaxed_madd" },
    { what: "heed of another tile", kind: "heed", flops: 72e6, tile: "7×1 relaxed_madd" },
  ];
  const timings = entries.map(({ what, kind }) => timing(what, "limit", kind === "heed" ? 2 : 1, 0.5));
  const rows = microRows(entries, timings);
  expect(rows.map(({ rate, best, percentOfLimit }) => [rate, best, percentOfLimit])).toEqual([
    [50, 100, 100],
    [40, 80, 80],
    [36, 144, 72],
    [36, 144, 72],
  ]);
  expect(microBars(rows)).toEqual([{ what: "heed ÷ its bare tile", value: 0.9, atLeast: 0.88 }]);
  expect(formatMicro(rows)).toContain("6×2 relaxed_madd");
});

test.each(STEPS)("a bare tile of %s has as many loads and multiply-adds as that of heed", (step) => {
  const tile = { rows: 3, vectors: 2, step };
  const text = tileWat(tile);
  const count = (pattern: RegExp): number => text.match(pattern)?.length ?? 0;
  expect([count(/v128\.load offset/g), count(/v128\.load32_splat/g)]).toEqual([2, 3]);
  expect(count(/relaxed_madd|f32x4\.add|i32x4\.add/g)).toBe(6);
  const [repeats, aStep, bEnd] = tileArguments(tile);
  // A [3][128] floats, then B [128][16].
  expect([aStep, bEnd]).toEqual([4, 2 * 128 * 64]);
  expect(tileFlops(tile)).toBe(repeats * 128 * 6 * (step.startsWith("dot") ? 8 : 4) * 2);
  expect(nameOfTile(tile)).toBe(`3×2 ${step}`);
});

test("a small cache is what a walker leaves of a larger one", () => {
  expect(cachesBelow(2048)).toEqual([
    { leftKib: 512, walkedKib: 1536 },
    { leftKib: 256, walkedKib: 1792 },
    { leftKib: 0, walkedKib: 8192 },
  ]);
  expect(cachesBelow(256)).toEqual([{ leftKib: 0, walkedKib: 1024 }]);
  const row = { what: "heed", leftKib: 0, walkedKib: 1024, aloneMs: 20, besideMs: 21, walksPerMs: 5 };
  expect(costOf(row)).toBeCloseTo(5, 10);
  expect(formatCaches([row])).toContain("5.0");
});

test("tasks are those of the marked thread that touch the time between two marks", () => {
  const event = (name: string, ts: number, dur: number, tid = 1): TraceEvent => {
    return { name, ph: dur > 0 ? "X" : "I", pid: 1, tid, ts, dur };
  };
  const events = [
    event("RunTask", 0, 900),
    event("RunTask", 950, 4000),
    event("from", 1000, 0),
    event("RunTask", 5000, 16_500),
    event("RunTask", 5000, 90_000, 2),
    event("Layout", 5000, 90_000),
    event("to", 22_000, 0),
    event("RunTask", 23_000, 70_000),
  ];
  expect(tasksBetween(events, "from", "to")).toEqual([4, 16.5]);
  expect(tasksBetween(events, "from", "elsewhere")).toEqual([]);
});

test("whoever computes something else or fails does not race", async () => {
  const contender = (form: string, result: () => number): Contender => ({
    name: "peer",
    form,
    kind: "wasm",
    run: () => 0,
    result: () => Float32Array.of(result()),
  });
  const fails = contender("fails", () => {
    throw new Error("no such operator");
  });
  const all = [contender("close", () => 1), contender("closer", () => 0.5), contender("far", () => 9), fails];
  const { right, errors, skipped } = await check(
    all,
    ([x]) => ({ error: x!, atMost: 2 }),
    () => undefined,
  );
  expect(right.map(({ form }) => form)).toEqual(["close", "closer"]);
  expect(errors).toEqual(new Map([["peer", 1]]));
  expect(skipped).toEqual([
    "peer (far) skipped: wrong by 9.0e+0, at most 2.0e+0 expected",
    "peer (fails) skipped: no such operator",
  ]);
  expect(right.every(({ firstCall }) => firstCall !== undefined)).toBe(true);
});

test("a turn that another process takes is timed there", async () => {
  const turn = (duration: number): Promise<number[]> => Promise.resolve([duration, 1]);
  expect(await runFor({ run: () => expect.unreachable(), turn }, 20)).toEqual([20, 1]);
});
