// The arithmetic of the benchmark: what it counts, compares and prints. No speed is measured.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { load } from "heed";
import { describe, expect, test } from "vitest";
import { HEED_CASES } from "../../bench/cases/heed-cases.ts";
import { DECODE_CASES, LAYER_NAME, PRODUCTS, SHAPES, THREAD_CASES, nameOfProduct } from "../../bench/cases/shapes.ts";
import { type Timing, bestForms, measure, median } from "../../bench/harness/measure.ts";
import { flops, makeProblem, sees, shape } from "../../bench/harness/problem.ts";
import { makeReference, maxError } from "../../bench/harness/reference.ts";
import { formatTable, gflops } from "../../bench/harness/report.ts";
import { alternate, isSlower, speedupOf } from "../../bench/harness/turns.ts";
import { matches, namesTables, parseOptions, wants } from "../../bench/options.ts";

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

describe("the options", () => {
  const tablesOf = (...args: string[]): boolean[] => {
    const options = parseOptions(args);
    const named = (["decode", "layer", "weights", "scaling"] as const).map((table) => wants(options, table));
    return [!namesTables(options), ...named];
  };

  test("name the tables that are measured, or those that are not", () => {
    expect(tablesOf()).toEqual([true, true, true, true, true]);
    expect(tablesOf("--decode")).toEqual([false, true, false, false, false]);
    expect(tablesOf("--layer", "--weights")).toEqual([false, false, true, true, false]);
    expect(tablesOf("--no-scaling")).toEqual([true, true, true, true, false]);
  });

  test("pick shapes and peers by a part of their name", () => {
    expect(matches("1×12×512×512×64", [])).toBe(true);
    expect(matches("1×12×512×512×64", ["causal", "512x512"])).toBe(true);
    expect(matches("1×12×512×512×64", ["causal"])).toBe(false);
    expect(matches("onnxruntime-web x", ["b x"])).toBe(true);
  });

  test.each([
    [["--quik"], /Unknown option '--quik'/],
    [["--rounds", "1.5"], '--rounds expected a whole number of at least 1, got "1.5"'],
    [["--seconds", "0"], '--seconds expected a number above 0, got "0"'],
    [["--seconds="], '--seconds expected a number above 0, got ""'],
  ])("refuse %j", (args, message) => {
    expect(() => parseOptions(args)).toThrow(message);
  });
});

describe("two builds beside each other", () => {
  test("take turns, the other one first in every other round", async () => {
    const order: string[] = [];
    const entrant = (name: string) => ({ name, form: "", kind: "heed" as const, run: () => order.push(name) });
    const rounds = await alternate({ old: entrant("old"), new: entrant("new") }, { rounds: 3, turn: 0 });
    expect(order).toEqual(["old", "new", "new", "old", "old", "new"]);
    expect(rounds).toHaveLength(3);
    for (const round of rounds) expect(round.old.best).toBeLessThanOrEqual(round.old.median);
  });

  test("have a speedup by the best turns and by the median of the rounds", () => {
    const turn = (best: number, median: number) => ({ best, median });
    const rounds = [
      { old: turn(4, 6), new: turn(2, 3) },
      { old: turn(5, 9), new: turn(5, 6) },
      { old: turn(8, 8), new: turn(8, 8) },
    ];
    expect(speedupOf(rounds)).toEqual({ best: 2, median: 1.5 });
    expect(isSlower({ best: 0.96, median: 0.96 }, 0.97)).toBe(true);
    expect(isSlower({ best: 0.96, median: 0.98 }, 0.97)).toBe(false);
    expect(isSlower({ best: 0.98, median: 0.96 }, 0.97)).toBe(false);
  });

  test.each(HEED_CASES.filter(({ quick }) => quick))("compute the same: $what", async (one) => {
    const make = one.open();
    const results: Buffer[][] = [];
    for (const heed of [await load(), await load()]) {
      const used = heed.memory.used;
      const contenders = make(heed);
      const found: Buffer[] = [];
      for (const contender of contenders.slice(0, one.forms.length)) {
        found.push(Buffer.from(new Float32Array(await contender.result()).buffer));
      }
      for (const contender of contenders) contender.dispose?.();
      expect(heed.memory.used).toBe(used);
      heed.dispose();
      results.push(found);
    }
    const [old, now] = results as [Buffer[], Buffer[]];
    expect(now).toHaveLength(one.forms.length);
    now.forEach((bytes, n) => {
      expect(bytes.some((byte) => byte !== 0)).toBe(true);
      expect(bytes.equals(old[n]!)).toBe(true);
    });
  });

  test("meet in every shape of attention, decoding, layers and weights", () => {
    const names = HEED_CASES.map(({ what }) => what);
    expect(new Set(names).size).toBe(names.length);
    const attention = SHAPES.map(({ name }) => name);
    const decode = DECODE_CASES.flatMap(({ dims, dtypes }) => dtypes.map((dtype) => `decode ${dims} ${dtype}`));
    expect(names).toEqual(
      expect.arrayContaining([...attention, ...decode, ...PRODUCTS.map(nameOfProduct), LAYER_NAME]),
    );
    for (const table of ["attention", "decode", "layer", "weights"] as const) {
      expect(HEED_CASES.some((one) => one.table === table && one.quick)).toBe(true);
    }
  });
});

describe("the command", () => {
  const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [path("bench/start.js"), ...args], { encoding: "utf8" });

  /** What --help and --list must leave alone: the installed peers and the compiled package. */
  const state = () =>
    ["bench/node_modules", "dist/index.js", "build/simd.wasm"].map((name) =>
      existsSync(path(name)) ? statSync(path(name)).mtimeMs : undefined,
    );

  test("answers --help with every option, and installs and compiles nothing", () => {
    const before = state();
    const { status, stdout, stderr } = bench("--help");
    expect([status, state()]).toEqual([0, before]);
    expect(stderr).not.toContain("installing");
    for (const option of Object.keys(parseOptions([]))) expect(stdout).toContain(`--${option}`);
  });

  test("answers --list with every table, shape and peer, and installs and compiles nothing", () => {
    const before = state();
    const { status, stdout } = bench("--list");
    expect([status, state()]).toEqual([0, before]);
    for (const name of SHAPES.map((one) => one.name)) expect(stdout).toContain(`  ${name}`);
    for (const { what } of THREAD_CASES) expect(stdout).toContain(`  ${what}`);
    for (const name of ["onnxruntime-web", "tfjs-wasm", "plain JS", "heed relaxed"]) expect(stdout).toContain(name);
    for (const option of [
      "--decode",
      "--layer",
      "--weights",
      "--scaling",
      "--threads",
      "--async",
      "--micro",
      "--cold",
      "--baseline",
    ]) {
      expect(stdout).toContain(`\n${option}`);
    }
  });

  test.each([
    [["--quik"], "bench: Unknown option '--quik' (--help lists the options)\n"],
    [["--baseline", "/none"], "bench: --baseline expected the folder of an index.js, got /none\n"],
  ])("ends with 2 for %j", (args, message) => {
    const { status, stdout, stderr } = bench(...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(message);
  });
});
