// What caches keep within a budget, and what a model loses by it.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Heed, type KvCache, load } from "heed";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FULL, POLICIES, type Policy } from "../../examples/evict/policies.ts";
import { table } from "../../examples/evict/report.ts";
import { score, surprise, write } from "../../examples/evict/score.ts";
import { parseCheckpoint } from "../../examples/generate/checkpoint.ts";
import { Llama } from "../../examples/generate/llama.ts";
import { Model } from "../../examples/generate/model.ts";
import { sampler } from "../../examples/generate/sample.ts";
import { checkpointBytes } from "../support/checkpoints.ts";
import { isFull } from "../support/sweep.ts";

const models = process.env.HEED_MODELS ?? fileURLToPath(new URL("../../../shared/models", import.meta.url));
const MODEL = join(models, "stories260K.bin");
const [window, firstAndWindow, hitters, fading] = POLICIES as readonly [Policy, Policy, Policy, Policy];

let heed: Heed;
beforeAll(async () => {
  heed = await load({ variant: "simd" });
});
afterAll(() => heed.dispose());

/** Reads `count` tokens by a policy, and returns those that each step leaves. Every query looks at `favourite` most. */
function kept(policy: Policy, budget: number, count: number, favourite: (token: number) => number): number[][] {
  const cache: KvCache = heed.createKvCache({
    numKvHeads: 1,
    headDim: 8,
    capacity: count,
    window: policy.window?.(budget),
  });
  const eviction = policy.eviction?.(budget, 2);
  const steps: number[][] = [];
  const q = heed.tensor(16);
  for (let token = 0; token < count; token++) {
    eviction?.beforeAppend(cache, 0);
    const row = new Float32Array(8).fill(token);
    row[0] = 0;
    cache.append(
      row.map((_, d) => (d === token % 8 ? 5 : 0)),
      row,
    );
    q.data.fill(0);
    for (const head of [0, 1]) q.data[head * 8 + favourite(token)] = 5;
    eviction?.afterAttention(cache, 0, q);
    const { v } = cache.read(0, 0);
    steps.push(Array.from({ length: cache.length }, (_, n) => v[n * 8 + 1]!));
  }
  q.dispose();
  cache.dispose();
  return steps;
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n);

describe("a budget of 7", () => {
  it("StreamingLLM keeps the first four and the latest", () => {
    kept(firstAndWindow, 7, 20, () => 0).forEach((tokens, at) =>
      expect(tokens).toEqual(at < 7 ? range(0, at + 1) : [0, 1, 2, 3, at - 2, at - 1, at]),
    );
  });

  it("H2O keeps the latest, and what was looked at most", () => {
    // Token 2 has the key that every query looks for, until token 10 has it too.
    const steps = kept(hitters, 7, 16, () => 2);
    steps.forEach((tokens, at) => {
      expect(tokens).toHaveLength(Math.min(at + 1, 7));
      expect(tokens.slice(-3)).toEqual(range(Math.max(at - 2, 0), at + 1));
      if (at >= 2) expect(tokens).toContain(2);
      if (at >= 10) expect(tokens).toContain(10);
    });
  });

  it("sums that fade forget what is looked at no more", () => {
    const turn = (token: number) => (token < 20 ? 2 : 3);
    expect(kept(hitters, 7, 60, turn).at(-1)).toContain(2);
    expect(kept(fading, 7, 60, turn).at(-1)).not.toContain(2);
  });
});

describe("a model", () => {
  const text = [1, 5, 3, 3, 11, 0, 7, 4, 4, 2];
  it("scores as it does when it reads every beginning anew, and leaves nothing behind", () => {
    const before = heed.memory.used;
    const model = new Model(heed, parseCheckpoint(checkpointBytes(), ""));
    const surprises = text.slice(1).map((token, at) => {
      const llama = new Llama(model, text.length, "f32");
      const logits = llama.read(text.slice(0, at + 1));
      llama.dispose();
      return surprise(logits, token);
    });
    const { loss } = score(model, [text], FULL);
    // 30 roundings of f32 between an embedding and a logit, of at most 2 here, all of them off in one direction.
    expect(Math.abs(loss - surprises.reduce((sum, one) => sum + one) / 9)).toBeLessThan(2 * 30 * 2 ** -23 * 2);
    model.dispose();
    expect(heed.memory.used).toBe(before);
  });

  it("loses nothing by a budget of the whole text", () => {
    const model = new Model(heed, parseCheckpoint(checkpointBytes(), ""));
    const { loss, bytes } = score(model, [text], FULL);
    for (const policy of POLICIES) {
      expect(score(model, [text], policy, text.length)).toEqual({ policy, budget: text.length, bytes, loss });
    }
    expect(score(model, [text], firstAndWindow, 6).loss).not.toBe(loss);
    model.dispose();
  });
});

it("reports what each policy costs", () => {
  const scores = [
    { policy: FULL, budget: undefined, bytes: 4096, loss: 1 },
    { policy: window, budget: 16, bytes: 1024, loss: 1.1 },
  ];
  expect(table(scores).split("\n")).toEqual([
    "policy       tokens   bytes   nats a token   perplexity   worse by",
    "full cache      all   4,096         1.0000        2.718",
    "window           16   1,024         1.1000        3.004     10.5 %",
    "",
  ]);
});

const evict = (...args: string[]) =>
  spawnSync(process.execPath, [fileURLToPath(new URL("../../build/evict.js", import.meta.url)), ...args], {
    encoding: "utf8",
  });

describe("the command", () => {
  it("prints a page of help", () => {
    const { status, stdout } = evict("--help");
    expect(status).toBe(0);
    for (const [, option] of stdout.matchAll(/^ +(--[a-z]+)/gm)) expect(stdout).toContain(`\n  ${option!} `);
  });

  it.each([
    [
      "no model",
      [],
      /^evict: --model expected a file, got none .*\n\n(.*\n)*.*npm run evict -- --model stories260K.bin/,
    ],
    ["no text", ["--texts", "0"], /^evict: --texts expected a whole number from 1 to 1000, got "0"\n$/],
    ["an unknown option", ["--fast"], /^evict: Unknown option '--fast' \(--help lists the options\)\n$/],
  ])("says in a line what is wrong with %s", (_, args, message) => {
    const { status, stdout, stderr } = evict(...args);
    expect([status, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(message);
  });
});

if (!existsSync(MODEL)) {
  it("stories260K.bin", ({ skip }) => skip("put it in ../shared/models or name its folder in HEED_MODELS"));
} else {
  describe("stories260K", () => {
    it("loses less by sums that fade than by the window, and more by those that do not", () => {
      const model = new Model(heed, parseCheckpoint(readFileSync(MODEL), MODEL));
      const texts = [write(model, sampler(1, 100))];
      expect(texts[0]).toHaveLength(512);
      const full = score(model, texts, FULL);
      const [byWindow, byHitters, byFading] = [window, hitters, fading].map((policy) =>
        score(model, texts, policy, 64),
      );
      expect(byFading!.loss).toBeGreaterThan(full.loss);
      expect(byFading!.loss).toBeLessThan(byWindow!.loss);
      expect(byHitters!.loss).toBeGreaterThan(byWindow!.loss);
      // A page of 128 tokens for each of 5 layers, where the whole text has four.
      expect([full.bytes, byFading!.bytes]).toEqual([4 * 163_840, 163_840]);
      model.dispose();
    });

    // Four texts take half a minute.
    it("prints the table that the README shows", () => {
      const { status, stdout } = evict("--model", MODEL, ...(isFull ? [] : ["--texts", "1"]));
      expect(status).toBe(0);
      const readme = readFileSync(new URL("../../examples/evict/README.md", import.meta.url), "utf8");
      const shown = /```\n(4 texts of [^]*?)```/.exec(readme)![1]!;
      if (isFull) expect(stdout).toBe(shown);
      // Of one text the figures differ, and nothing else.
      const words = (text: string) => text.replace("texts", "text").replace(/ *-?\d+\.\d+|^\d+/gm, "#");
      expect(words(stdout)).toBe(words(shown));
    });
  });
}
