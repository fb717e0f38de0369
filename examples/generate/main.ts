// Continues a text with a Llama-style checkpoint of llama2.c: `npm run generate -- --help`.
import { type Dtype, load } from "heed";
import { parseCheckpoint } from "./checkpoint.ts";
import { download, parseNumber, parseOptions, readInput, run as runCommand } from "./command.ts";
import { type Run, generate } from "./generate.ts";
import { InputError } from "./input.ts";
import { Model } from "./model.ts";
import { comparison, summary } from "./report.ts";
import { sampler } from "./sample.ts";
import { Tokenizer } from "./tokenizer.ts";

const DTYPES: readonly Dtype[] = ["f32", "f16", "int8"];

const HELP = `Continues a text with a small Llama. Linear layers, rotary embedding, KV cache and attention are heed's.

Usage: npm run generate -- --model <file> --tokenizer <file> [options]
       node build/generate.js --model <file> --tokenizer <file> [options]

  --model <file>        a checkpoint of llama2.c, version 0, such as stories260K.bin
  --tokenizer <file>    its tokenizer, such as tok512.bin
  --prompt <text>       how the text begins (default: nothing)
  --steps <n>           tokens to write at most (default 256); the model's positions are a bound too
  --temperature <t>     0 takes the likeliest token (default), 1 draws by the model's probabilities
  --seed <n>            of the draws (default 1)
  --dtype <type>        of the KV cache: ${DTYPES.join(", ")} (default f32)
  --compare             generate with each type of cache, and show speed, bytes and agreement side by side
  --help                this page

${download("generate")}`;

async function main(): Promise<void> {
  const options = parseOptions({
    model: { type: "string" },
    tokenizer: { type: "string" },
    prompt: { type: "string" },
    steps: { type: "string" },
    temperature: { type: "string" },
    seed: { type: "string" },
    dtype: { type: "string" },
    compare: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  });
  if (options.help) {
    process.stdout.write(HELP);
    return;
  }
  const steps = parseNumber("--steps", options.steps ?? "256", 1, 1e6, true);
  const temperature = parseNumber("--temperature", options.temperature ?? "0", 0, 100);
  const seed = parseNumber("--seed", options.seed ?? "1", 0, 2 ** 32 - 1, true);
  const dtype = parseDtype(options.dtype ?? "f32");
  const checkpoint = parseCheckpoint(readInput("--model", options.model, "generate"), options.model!);
  const { vocabSize, seqLen } = checkpoint.config;
  const tokenizer = new Tokenizer(
    readInput("--tokenizer", options.tokenizer, "generate"),
    vocabSize,
    options.tokenizer!,
  );
  const prompt = tokenizer.encode(options.prompt ?? "");
  if (prompt.length > seqLen) {
    throw new InputError(`--prompt has ${prompt.length} tokens, and the model has ${seqLen} positions`);
  }

  const heed = await load();
  try {
    const model = new Model(heed, checkpoint);
    const run = (type: Dtype, onToken?: (token: number, previous: number) => void) =>
      generate(model, prompt, { steps, dtype: type, sample: sampler(temperature, seed) }, onToken);
    process.stdout.write(options.prompt ?? "");
    const first = run(options.compare ? "f32" : dtype, writer(tokenizer));
    process.stdout.write(`\n\n${options.compare ? compare(model, prompt, run) : summary(first, heed.variant)}`);
    model.dispose();
  } finally {
    heed.dispose();
  }
}

/** Generates once more with each type of cache, now that the code is warm. */
function compare(model: Model, prompt: readonly number[], run: (dtype: Dtype) => Run): string {
  const { numLayers, numKvHeads, headDim } = model.config;
  const title = `${numLayers} layers of ${numKvHeads} KV heads of ${headDim}, prompt tokens: ${prompt.length}`;
  return comparison(
    `${title}, heed ${model.heed.variant}`,
    DTYPES.map((dtype) => run(dtype)),
  );
}

/** Writes tokens to the terminal as they come; characters that would steer it are left out. */
function writer(tokenizer: Tokenizer): (token: number, previous: number) => void {
  const text = new TextDecoder();
  return (token, previous) => {
    const piece = text.decode(tokenizer.decode(token, previous), { stream: true });
    process.stdout.write(piece.replace(/[^\P{Cc}\n\t]/gu, ""));
  };
}

function parseDtype(given: string): Dtype {
  const dtype = DTYPES.find((one) => one === given);
  if (!dtype) throw new InputError(`--dtype expected ${DTYPES.join(", ")}, got ${JSON.stringify(given)}`);
  return dtype;
}

await runCommand("generate", main);
