// Opens the attention layers of a safetensors file and runs them: `npm run safetensors -- --help`.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { load } from "heed";
import { findLayers, openLayer, readTensors } from "./layers.ts";

const HELP = `Opens the attention layers of a checkpoint, and runs each of them over random tokens.

Usage: npm run safetensors -- --file <file> --heads <n> [options]

  --file <file>     a safetensors file of f32, such as that of a BERT or of a torch.nn.Transformer
  --heads <n>       its query heads, which stand in the model's config
  --tokens <n>      how many tokens to run over (default 128)
  --help            this page
`;

/** The user gave something wrong. The message alone is printed, without a stack. */
class InputError extends Error {}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      file: { type: "string" },
      heads: { type: "string" },
      tokens: { type: "string", default: "128" },
      help: { type: "boolean" },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const [heads, tokens] = [Number(values.heads), Number(values.tokens)];
  if (!values.file) throw new InputError("--file is missing");
  if (!Number.isInteger(heads) || heads < 1) throw new InputError("--heads expected an integer of at least 1");
  if (!Number.isInteger(tokens) || tokens < 1) throw new InputError("--tokens expected an integer of at least 1");
  const tensors = readTensors(new Uint8Array(readFileSync(values.file)));
  const layers = findLayers(tensors.keys());
  if (layers.length === 0) throw new InputError(`${values.file} has no attention layer whose names are known`);

  const heed = await load();
  for (const found of layers) {
    const layer = openLayer(heed, tensors, found, heads);
    const context = layer.kvDim.k === layer.embedDim ? undefined : new Float32Array(tokens * layer.kvDim.k);
    const x = Float32Array.from({ length: tokens * layer.embedDim }, () => Math.random() - 0.5);
    layer.forward(x, { context });
    const start = performance.now();
    const { out } = layer.forward(x, { context });
    const ms = (performance.now() - start).toFixed(2);
    const shape = `${layer.numHeads}/${layer.numKvHeads} heads of ${layer.headDim}`;
    const sizes = `${layer.embedDim} → ${shape} → ${layer.outDim}`;
    const rms = Math.hypot(...out.subarray(0, layer.outDim)) / Math.sqrt(layer.outDim);
    console.log(
      `${found.prefix || "(no prefix)"}  ${found.kind}  ${sizes}  ${tokens} tokens in ${ms} ms, rms ${rms.toFixed(3)}`,
    );
    layer.dispose();
  }
  heed.dispose();
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Error)) throw error;
  console.error(error instanceof InputError ? `${error.message} (--help shows the options)` : error.message);
  process.exitCode = 1;
}
