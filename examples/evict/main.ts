// What a small Llama loses where its caches may not keep all tokens: `npm run evict -- --help`.
import { load } from "heed";
import { parseCheckpoint } from "../generate/checkpoint.ts";
import { download, parseNumber, parseOptions, readInput, run } from "../generate/command.ts";
import { Model } from "../generate/model.ts";
import { sampler } from "../generate/sample.ts";
import { FIRST_TOKENS, FULL, POLICIES } from "./policies.ts";
import { table } from "./report.ts";
import { score, shareOfFirst, write } from "./score.ts";

/** Budgets, as parts of a text. */
const PARTS = [2, 4, 8];

const HELP = `Holds the KV caches of a small Llama to a budget of tokens, and measures what it loses.

Usage: npm run evict -- --model <file> [options]
       node build/evict.js --model <file> [options]

  --model <file>    a checkpoint of llama2.c, version 0, such as stories260K.bin
  --texts <n>       texts to score (default 4), each as long as the model has positions
  --seed <n>        of the first text, which the model writes itself (default 100)
  --help            this page

${download("evict")}`;

async function main(): Promise<void> {
  const options = parseOptions({
    model: { type: "string" },
    texts: { type: "string" },
    seed: { type: "string" },
    help: { type: "boolean", short: "h" },
  });
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  const count = parseNumber("--texts", options.texts ?? "4", 1, 1000, true);
  const seed = parseNumber("--seed", options.seed ?? "100", 0, 2 ** 31, true);
  const checkpoint = parseCheckpoint(readInput("--model", options.model, "evict"), options.model!);

  // The same bits on every machine, so that the same texts are written and scored.
  const heed = await load({ variant: "simd" });
  try {
    const model = new Model(heed, checkpoint);
    const { seqLen, numLayers } = model.config;
    const texts = Array.from({ length: count }, (_, n) => write(model, sampler(1, seed + n)));
    process.stdout.write(`${count} ${count === 1 ? "text" : "texts"} of ${seqLen} tokens, ${numLayers} layers\n\n`);
    const scores = [score(model, texts, FULL)];
    for (const part of PARTS) {
      for (const policy of POLICIES) scores.push(score(model, texts, policy, Math.floor(seqLen / part)));
    }
    process.stdout.write(table(scores));
    const share = (shareOfFirst(model, texts) * 100).toFixed(2);
    process.stdout.write(`\nthe first ${FIRST_TOKENS} tokens get ${share} % of the attention of the later half\n`);
    model.dispose();
  } finally {
    heed.dispose();
  }
}

await run("evict", main);
