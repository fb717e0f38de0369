// Opens the attention layers of a safetensors file and runs them: `npm run safetensors -- --help`.
import { parseArgs } from "node:util";
import { type MultiHeadAttention, load } from "heed";
import { withFile } from "./file.ts";
import { FLOATS, type Header, type Source, readHeader } from "./format.ts";
import { type Found, findLayers, openLayer, readSome } from "./layers.ts";

const HELP = `Opens the attention layers of a checkpoint, and runs each of them over random tokens.

Usage: npm run safetensors -- --file <file> --heads <n> [options]

  --file <file>     a safetensors file, such as that of a BERT or of a torch.nn.Transformer
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
  if (!values.file) throw new InputError("--file is missing");
  const heads = parseCount("--heads", values.heads, 4096);
  const tokens = parseCount("--tokens", values.tokens, 65_536);
  const heed = await load();
  try {
    withFile(values.file, (source) => {
      const header = readHeader(source);
      for (const found of layersOf(source, header)) {
        const layer = openLayer(heed, readSome(source, header, found.prefix), found, heads);
        run(layer, found, tokens);
        layer.dispose();
      }
    });
  } finally {
    heed.dispose();
  }
}

/** The layers whose weights are of a type that is read. */
function layersOf({ title }: Source, header: Header): Found[] {
  const entries = [...header];
  const layers = findLayers(entries.flatMap(([name, { dtype }]) => (FLOATS.includes(dtype) ? [name] : [])));
  if (layers.length > 0) return layers;
  const types = [...new Set(entries.map(([, { dtype }]) => dtype))].join(", ");
  const others = findLayers(entries.map(([name]) => name));
  throw new Error(
    others.length > 0
      ? `${title} has attention layers of ${types}, and ${FLOATS.join(", ")} are read`
      : `${title} has no attention layer whose names are known`,
  );
}

/** Runs a layer twice and prints what came of it. */
function run(layer: MultiHeadAttention, found: Found, tokens: number): void {
  const context = layer.kvDim.k === layer.embedDim ? undefined : new Float32Array(tokens * layer.kvDim.k);
  const x = Float32Array.from({ length: tokens * layer.embedDim }, () => Math.random() - 0.5);
  layer.forward(x, { context });
  const start = performance.now();
  const { out } = layer.forward(x, { context });
  const ms = (performance.now() - start).toFixed(2);
  const shape = `${layer.numHeads}/${layer.numKvHeads} heads of ${layer.headDim}`;
  const sizes = `${layer.embedDim} → ${shape} → ${layer.outDim}`;
  const rms = Math.hypot(...out.subarray(0, layer.outDim)) / Math.sqrt(layer.outDim);
  const name = printable(found.prefix || "(no prefix)");
  console.log(`${name}  ${found.kind}  ${sizes}  ${tokens} tokens in ${ms} ms, rms ${rms.toFixed(3)}`);
}

function parseCount(name: string, given: string | undefined, most: number): number {
  const count = Number(given);
  if (Number.isInteger(count) && count >= 1 && count <= most) return count;
  throw new InputError(`${name} expected an integer from 1 to ${most}, got ${given ?? "none"}`);
}

/** Text of a file, without characters that a terminal obeys. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "�");
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Error)) throw error;
  console.error(printable(error.message) + (error instanceof InputError ? " (--help shows the options)" : ""));
  process.exitCode = 1;
}
