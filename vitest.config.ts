import { defineConfig } from "vitest/config";

// Node 20 has relaxed SIMD behind a flag, later versions have it without.
const flags = Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          execArgv: flags,
          testTimeout: 60_000,
        },
      },
    ],
  },
});
