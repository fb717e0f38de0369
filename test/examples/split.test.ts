import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { ULP } from "../support/budget.ts";

const program = fileURLToPath(new URL("../../build/split.js", import.meta.url));
const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });

describe("examples/split", () => {
  it.each([1, 3, 9])("merges what %i workers give to what one instance gives", (workers) => {
    const { stdout, stderr, status } = run("--keys", "3000", "--queries", "5", "--workers", String(workers));
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const [, out, lse] = /largest difference: out (\S+), lse (\S+)/.exec(stdout)!;
    // Two answers, each off by what floorOf (budget.ts) bounds: scores up to |lse| + ln keys < 20, values up to √3.
    expect(Number(out)).toBeLessThanOrEqual(2 * (2.5 + 1.5 * 20) * ULP * Math.sqrt(3));
    expect(Number(lse)).toBeLessThanOrEqual(2 * (1.5 + 2 * 20) * ULP);
    expect(stdout).toMatch(/^5 queries, 3000 keys, 8 heads of 64, causal, with sinks; (simd|relaxed)$/m);
    expect(stdout.match(/^(whole|merged) +out( +-?\d\.\d{6}){4} … +lse \d+\.\d{5} …/gm)).toHaveLength(2);
  });

  it("takes more workers than keys", () => {
    const { stdout } = run("--keys", "2", "--queries", "1", "--workers", "4");
    expect(stdout).toContain("largest difference");
  });

  it("says what it takes", () => {
    expect(run("--help").stdout).toContain("npm run split");
    const wrong = run("--keys", "0.5");
    expect(wrong.status).toBe(1);
    expect(wrong.stderr).toContain("--keys expected an integer from 1 to 1048576, got 0.5");
  });
});
