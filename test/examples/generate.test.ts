import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Dtype, type Heed, load } from "heed";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseCheckpoint } from "../../examples/generate/checkpoint.ts";
import { generate } from "../../examples/generate/generate.ts";
import { Llama } from "../../examples/generate/llama.ts";
import { Model } from "../../examples/generate/model.ts";
import { comparison, summary } from "../../examples/generate/report.ts";
import { sampler } from "../../examples/generate/sample.ts";
import { BOS, EOS, Tokenizer } from "../../examples/generate/tokenizer.ts";
import { maxError } from "../support/budget.ts";
import { PIECES, checkpointBytes, textOf, tokenizerBytes } from "../support/checkpoints.ts";

// The real model is no part of the project: it lies beside it, or where HEED_MODELS says.
const models = process.env.HEED_MODELS ?? fileURLToPath(new URL("../../../shared/models", import.meta.url));
const [MODEL, TOKENIZER] = [join(models, "stories260K.bin"), join(models, "tok512.bin")];

const folder = mkdtempSync(join(tmpdir(), "heed-"));
let heed: Heed;
beforeAll(async () => {
  heed = await load();
});
afterAll(() => {
  heed.dispose();
  rmSync(folder, { recursive: true });
});

describe("the model", () => {
  it("says the same of tokens read at once, in parts and one by one", () => {
    const before = heed.memory.used;
    const model = new Model(heed, parseCheckpoint(checkpointBytes({ shared: false }), ""));
    const tokens = [1, 5, 3, 3, 11, 0, 7];
    const last = (...parts: number[][]) => {
      const llama = new Llama(model, tokens.length, "f32");
      const logits = parts.map((part) => llama.read(part)).at(-1)!;
      llama.dispose();
      return logits;
    };
    const atOnce = last(tokens);
    const largest = Math.max(...atOnce.map(Math.abs));
    // 30 roundings of f32 between an embedding and a logit, all of them off in one direction.
    const tolerance = 30 * 2 ** -23 * largest;
    expect(maxError(last(...tokens.map((token) => [token])), atOnce)).toBeLessThan(tolerance);
    expect(maxError(last(tokens.slice(0, 3), tokens.slice(3)), atOnce)).toBeLessThan(tolerance);
    expect(last([...tokens].reverse())).not.toEqual(atOnce);
    expect(heed.memory.used).toBeGreaterThan(before);
    model.dispose();
    expect(heed.memory.used).toBe(before);
  });

  it("stops at the model's positions, at steps and at the end of the text", () => {
    const model = new Model(heed, parseCheckpoint(checkpointBytes(), ""));
    const run = (steps: number, ...given: number[]) => {
      const sample = () => given.shift() ?? 4;
      return generate(model, [1, 2, 3], { steps, dtype: "f32", sample }).tokens;
    };
    expect(run(1)).toHaveLength(1);
    expect(run(5)).toHaveLength(5);
    // 10 positions: 3 of the prompt, and of 8 tokens all but the last are read.
    expect(run(100)).toHaveLength(8);
    expect(run(5, 4, 4, EOS)).toHaveLength(2);
    expect(run(5, BOS)).toHaveLength(0);
    model.dispose();
  });
});

describe("the sampler", () => {
  const logits = Float32Array.of(1, 3, -Infinity, 2);

  it("takes the likeliest token at temperature 0", () => expect(sampler(0, 1)(logits)).toBe(1));

  it("draws by softmax(logits / temperature), the same for the same seed", () => {
    const draws = (seed: number, temperature: number) => {
      const sample = sampler(temperature, seed);
      return Array.from({ length: 4000 }, () => sample(logits));
    };
    expect(draws(1, 1)).toEqual(draws(1, 1));
    expect(draws(1, 1)).not.toEqual(draws(2, 1));
    for (const temperature of [0.5, 1, 4]) {
      const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
      const sum = weights.reduce((a, b) => a + b);
      const drawn = draws(3, temperature);
      weights.forEach((weight, token) => {
        const share = drawn.filter((one) => one === token).length / 4000;
        // Four standard deviations of 4000 draws, at most ½/√4000 each.
        expect(Math.abs(share - weight / sum)).toBeLessThanOrEqual(weight === 0 ? 0 : 4 * (0.5 / Math.sqrt(4000)));
      });
    }
  });
});

it("reports speed, bytes and agreement", () => {
  const run = (dtype: Dtype, tokens: number[], seconds: number, cacheBytes: number) => ({
    dtype,
    tokens,
    seconds,
    cacheBytes,
  });
  const runs = [
    run("f32", [1, 2, 3, 4], 0.002, 4000),
    run("f16", [1, 2, 3, 4], 0.004, 2000),
    run("int8", [1, 2, 9, 4], 1, 1000),
  ];
  expect(summary(runs[0]!, "simd")).toBe("4 tokens, 2,000 tokens/s, 4,000 bytes of f32 KV cache, heed simd\n");
  expect(comparison("title", runs).split("\n")).toEqual([
    "title",
    "cache   tokens/s         bytes   first tokens as f32",
    "  f32      2,000   4,000 bytes                4 of 4",
    "  f16      1,000   2,000 bytes                4 of 4",
    " int8          4   1,000 bytes                2 of 4",
    "",
  ]);
});

const generated = (...args: string[]) =>
  spawnSync(process.execPath, [fileURLToPath(new URL("../../build/generate.js", import.meta.url)), ...args], {
    encoding: "utf8",
  });

describe("the command", () => {
  const files = {
    model: join(folder, "model.bin"),
    tokenizer: join(folder, "tokenizer.bin"),
    wrong: join(folder, "wrong"),
  };
  const given = ["--model", files.model, "--tokenizer", files.tokenizer];
  beforeAll(() => {
    writeFileSync(files.model, checkpointBytes());
    writeFileSync(files.tokenizer, tokenizerBytes(PIECES.slice(0, 12)));
    writeFileSync(files.wrong, "24ka, and so on for more than a header");
  });

  it("prints a page of help", () => {
    const { status, stdout } = generated("--help");
    expect(status).toBe(0);
    for (const [, option] of stdout.matchAll(/(--[a-z]+)/g)) expect(stdout).toContain(`\n  ${option!} `);
  });

  it("generates, and says what it took", () => {
    const { status, stdout, stderr } = generated(...given, "--steps", "4", "--temperature", "2");
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/\n\n\d tokens, [\d,]+ tokens\/s, [\d,]+ bytes of f32 KV cache, heed (simd|relaxed)\n$/);
  });

  it.each([
    ["files", [], "--model"],
    ["a model", ["--tokenizer", files.tokenizer], "--model"],
    ["a tokenizer", ["--model", files.model], "--tokenizer"],
  ])("names the download where it is called without %s", (_, args, missing) => {
    const { status, stdout, stderr } = generated(...args);
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(new RegExp(`^generate: ${missing} expected a file, got none`));
    for (const file of ["stories260K.bin", "tok512.bin"]) {
      expect(stderr).toMatch(new RegExp(`\\n  curl -L -O https://[^ ]+/${file}\\n`));
    }
    expect(stderr).toContain("\n  npm run generate -- --model stories260K.bin --tokenizer tok512.bin\n");
  });

  it.each([
    ["a missing file", ["--model", "/none"], "--model: ENOENT: no such file or directory, open '/none'"],
    [
      "a wrong magic",
      ["--model", files.wrong],
      `${files.wrong} is no llama2.c checkpoint: it is of a later version, and only version 0 is read`,
    ],
    ["a wrong size", ["--model", files.tokenizer], /is no llama2.c checkpoint: /],
    ["a wrong tokenizer", [...given, "--tokenizer", files.model], /is no tokenizer of 12 tokens: /],
    [
      "a prompt too long",
      [...given, "--prompt", "aaaaaaaaaaaa"],
      "--prompt has 14 tokens, and the model has 10 positions",
    ],
    ["steps 0", [...given, "--steps", "0"], '--steps expected a whole number from 1 to 1000000, got "0"'],
    ["steps 1.5", [...given, "--steps", "1.5"], '--steps expected a whole number from 1 to 1000000, got "1.5"'],
    [
      "a negative temperature",
      [...given, "--temperature=-1"],
      '--temperature expected a number from 0 to 100, got "-1"',
    ],
    ["an unknown type", [...given, "--dtype", "f64"], '--dtype expected f32, f16, int8, got "f64"'],
    ["an unknown option", [...given, "--fast"], "Unknown option '--fast' (--help lists the options)"],
  ])("says in one line what is wrong with %s", (_, args, message) => {
    const { status, stdout, stderr } = generated(...args);
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(/^generate: [^\n]*\n$/);
    if (typeof message === "string") expect(stderr).toBe(`generate: ${message}\n`);
    else expect(stderr).toMatch(message);
  });
});

if (!existsSync(MODEL) || !existsSync(TOKENIZER)) {
  it("stories260K.bin and tok512.bin", ({ skip }) =>
    skip("put them in ../shared/models or name their folder in HEED_MODELS"));
} else {
  describe("stories260K", () => {
    const { golden } = JSON.parse(readFileSync(join(models, "stories260K.json"), "utf8")) as {
      golden: { greedy_ids: number[]; steps: number; text: string; logits: Record<string, number[]> };
    };
    let model: Model;
    let tokenizer: Tokenizer;
    beforeAll(() => {
      model = new Model(heed, parseCheckpoint(readFileSync(MODEL), MODEL));
      tokenizer = new Tokenizer(readFileSync(TOKENIZER), model.config.vocabSize, TOKENIZER);
    });

    it("gives the known tokens, one for one", () => {
      const options = { steps: golden.steps, dtype: "f32" as const, sample: sampler(0, 1) };
      const { tokens } = generate(model, tokenizer.encode(""), options);
      expect([BOS, ...tokens]).toEqual(golden.greedy_ids);
      expect(textOf(tokenizer, golden.greedy_ids)).toBe(golden.text);
    });

    // The tolerance adds up the roundings on the way to a logit, each half a step of the largest logit and all in one
    // direction: 12 values to f32 in each of 5 layers and 2 after them, K and V of 5 layers to the cache's type. For
    // f32 that is 8e-5, and the two likeliest tokens are at least 4e-3 apart. The expected values have 6 decimals.
    it.each([
      ["f32", 2 ** -24],
      ["f16", 2 ** -11],
      ["int8", 1 / 254],
    ] as const)("gives the known logits, with caches of %s", (dtype, rounding) => {
      const llama = new Llama(model, golden.greedy_ids.length, dtype);
      golden.greedy_ids.forEach((token, position) => {
        const logits = llama.read([token]);
        const expected = golden.logits[position];
        if (!expected) return;
        const tolerance = (62 * 2 ** -24 + 10 * rounding) * Math.max(...expected.map(Math.abs)) + 0.5e-6;
        expect(maxError(logits, expected)).toBeLessThanOrEqual(tolerance);
      });
      llama.dispose();
    });

    it("takes half the memory for caches of f16, and gives it back", () => {
      const before = heed.memory.used;
      const bytesOf = (dtype: Dtype) => generate(model, [BOS], { steps: 150, dtype, sample: sampler(0, 1) }).cacheBytes;
      const f32 = bytesOf("f32");
      expect(bytesOf("f16")).toBe(f32 / 2);
      // In rows of 8: one byte a value, and a scale of four.
      expect(bytesOf("int8")).toBe((f32 * 12) / 32);
      expect(heed.memory.used).toBe(before);
    });

    it("compares the types of cache", () => {
      const { status, stdout } = generated("--model", MODEL, "--tokenizer", TOKENIZER, "--steps", "60", "--compare");
      expect(status).toBe(0);
      expect(stdout).toMatch(/\n\n5 layers of 4 KV heads of 8, prompt tokens: 1, heed (simd|relaxed)\n/);
      expect(stdout).toMatch(/\n +f32 .* bytes +60 of 60\n +f16 .* bytes +\d+ of 60\n +int8 .* bytes +\d+ of 60\n$/);
    });

    it("continues a prompt in the terminal", () => {
      const prompt = "Once upon a time, there was";
      expect(tokenizer.encode(prompt)).toEqual(golden.greedy_ids.slice(0, tokenizer.encode(prompt).length));
      const { stdout } = generated("--model", MODEL, "--tokenizer", TOKENIZER, "--prompt", prompt, "--steps", "60");
      expect(stdout).toContain(prompt);
      expect(golden.text).toContain(stdout.split("\n\n")[0]!);
    });
  });
}
