// examples/shard-sockets as its README says: three processes, one of which is killed in the middle.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { beforeAll, expect, it } from "vitest";
import { installed, output, pathIn, project } from "../project.ts";

beforeAll(async () => {
  symlinkSync(installed("ws"), pathIn("node_modules/ws"));
  await build({
    absWorkingDir: join(project, "examples/shard-sockets"),
    entryPoints: ["main.ts", "place.ts"],
    outdir: "build",
    bundle: true,
    platform: "node",
    format: "esm",
    packages: "external",
    logLevel: "warning",
  });
});

it("a cache over three processes goes on after one was killed, and gives what one cache gives", async () => {
  const text = await output(process.execPath, [join(project, "examples/shard-sockets/build/main.js")]);
  expect(text).toMatch(/^4096 tokens over 3 processes; (simd|relaxed)$/m);
  expect(text).toMatch(/^place 1 was ended after 16 more tokens$/m);
  // A call to append, and one for each process to attend; more where they were made again.
  const [, calls, kilobytes] = /^32 tokens, each \S+ ms, (\S+) calls, (\S+) kB$/m.exec(text)!;
  expect(Number(calls)).toBeGreaterThanOrEqual(4);
  expect(Number(kilobytes)).toBeGreaterThan(3 * 8);
  const [, out, lse] = /^largest difference from one cache: out (\S+), lse (\S+)$/m.exec(text)!;
  expect(Number(out)).toBeLessThanOrEqual(1e-5);
  expect(Number(lse)).toBeLessThanOrEqual(1e-5);
});
