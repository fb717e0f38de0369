import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const program = fileURLToPath(new URL("../../build/shard-threads.js", import.meta.url));
const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: "utf8" });

describe("examples/shard-threads", () => {
  it.each([
    ["f32", 1],
    ["f16", 3],
    ["int8", 8],
  ])("gives with %s over %i threads what one cache gives, though one ends in the middle", (dtype, workers) => {
    const args = ["--prompt", "1500", "--tokens", "6", "--dtype", dtype, "--workers", String(workers)];
    const { stdout, stderr, status } = run(...args);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(new RegExp(`^1500 tokens as ${dtype} over ${workers} threads?; (simd|relaxed)$`, "m"));
    expect(stdout).toMatch(/^thread 0 was ended after 3 more tokens$/m);
    const starts = ["2", ...Array<string>(workers - 1).fill("1")].join(", ");
    expect(stdout).toContain(`threads were started ${starts} times`);
    // A call for the token, one of each thread for attention.
    expect(stdout).toMatch(new RegExp(`^6 tokens, each \\S+ ms, ${workers + 1}\\.\\d calls, \\S+ kB$`, "m"));
    // Scores are below 16 and values below 2: both answers are off by a few ulp of these.
    const [, out, lse] = /^largest difference from one cache: out (\S+), lse (\S+)$/m.exec(stdout)!;
    expect(Number(out)).toBeLessThanOrEqual(1e-5);
    expect(Number(lse)).toBeLessThanOrEqual(1e-5);
  });

  it("says what it takes", () => {
    expect(run("--help").stdout).toContain("npm run shard-threads");
    const wrong = run("--workers", "0");
    expect(wrong.status).toBe(1);
    expect(wrong.stderr).toContain("--workers expected an integer from 1 to 64, got 0");
    expect(run("--dtype", "f64").stderr).toContain("--dtype expected f32, f16, int8, got f64");
  });
});
