import { mkdir, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { LIMIT_FLOPS, makeLimit } from "./harness/limit.ts";
import { type DecodeRow, formatDecode, measureDecode } from "./cases/decode.ts";
import { type LayerRow, formatLayer, measureLayer } from "./cases/layer.ts";
import { FULL, QUICK, type Effort, type Entrant, measure } from "./harness/measure.ts";
import type { Contender, Peer } from "./peers/peer.ts";
import { makeReference, maxError } from "./harness/reference.ts";
import { type ShapeResult, formatBars, formatShape, progress, resultOf } from "./harness/report.ts";
import { type Figure, formatFigures, measureScaling } from "./cases/scaling.ts";
import { SHAPES, type Shape, flops, makeProblem } from "./cases/shapes.ts";
import { measureWeights } from "./cases/weights.ts";

const HELP = `npm run bench -- [options]

  --quick           a few shapes, short runs, under a minute
  --shape TEXT      only shapes whose name contains TEXT, e.g. 512×512 or causal ("x" stands for "×"); repeatable
  --peer TEXT       only peers whose name contains TEXT, e.g. web, heed; repeatable
  --scaling         only the scaling figures: masks, copies, the small call, growth
  --no-scaling      without them
  --decode          only decoding: one query against a resident KV cache
  --no-decode       without it
  --layer           only the linear layer and the whole multi-head layer
  --no-layer        without them
  --weights         only attention weights beside decoding
  --no-weights      without them
  --cold            only cold starts: import, load and first call in every host of test/runtimes/
  --seconds N       timed seconds for each entrant and shape
  --json FILE       where to write the results (default bench/results/latest.json)
  --list            shapes and peers
`;

/** In the order of the table. Imported one by one: what cannot run here only loses its own row. */
const PEERS: Record<string, () => Promise<Peer>> = {
  "heed relaxed": async () => (await import("./peers/heed.ts")).loadHeed("relaxed"),
  "heed simd": async () => (await import("./peers/heed.ts")).loadHeed("simd"),
  "onnxruntime-web": async () => (await import("./peers/onnxruntime.ts")).loadOnnxruntimeWeb(),
  "onnxruntime-node": async () => (await import("./peers/onnxruntime.ts")).loadOnnxruntimeNode(),
  "jax-js wasm": async () => {
    const version = process.versions.node;
    if (Number.parseInt(version) < 22) throw new Error(`needs Node 22+, this is ${version}`);
    return (await import("./peers/jax.ts")).loadJax();
  },
  "tfjs-wasm": async () => (await import("./peers/tfjs.ts")).loadTfjs(),
  "plain JS": async () => (await import("./peers/plain-js.ts")).plainJs,
};

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    shape: { type: "string", multiple: true, default: [] },
    peer: { type: "string", multiple: true, default: [] },
    scaling: { type: "boolean" },
    decode: { type: "boolean" },
    layer: { type: "boolean" },
    weights: { type: "boolean" },
    seconds: { type: "string" },
    json: { type: "string", default: "results/latest.json" },
    list: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
  allowNegative: true,
});

const shapes = SHAPES.filter(({ name, quick }) => matches(name, options.shape) && (quick || !options.quick));
const peerNames = Object.keys(PEERS).filter((name) => matches(name, options.peer));
if (options.help) console.log(HELP);
else if (options.list) console.log([...SHAPES.map(({ name }) => name), "", ...Object.keys(PEERS)].join("\n"));
else await bench();

async function bench(): Promise<void> {
  const started = performance.now();
  const effort = { ...(options.quick ? QUICK : FULL) };
  if (options.seconds !== undefined) effort.budget = 1000 * Number(options.seconds);

  console.log(`Node ${process.versions.node}, ${cpus()[0]?.model.trim() ?? "unknown CPU"}, one thread, f32`);
  const results: ShapeResult[] = [];
  const peers: Record<string, string> = {};
  const loaded: Peer[] = [];
  const onlyHeed = options.scaling === true || options.weights === true || options.layer === true;
  const only = onlyHeed || options.decode === true;
  const everything = !only && options.shape.length === 0 && options.peer.length === 0;
  if (!onlyHeed || options.decode === true) {
    const absent: string[] = [];
    for (const name of peerNames) {
      try {
        const peer = await PEERS[name]!();
        loaded.push(peer);
        peers[name] = peer.version;
      } catch (error) {
        absent.push(`${name} skipped: ${messageOf(error)}`);
      }
    }
    console.log([...Object.entries(peers).map(([name, version]) => `${name} ${version}`), ...absent].join("; "));
  }
  if (!only) {
    const limit = await makeLimit();
    for (const [n, shape] of shapes.entries()) {
      const say = (text: string): void => progress(`[${n + 1}/${shapes.length}] ${shape.name}: ${text}`);
      const result = await race(shape, loaded, limit, effort, say);
      progress("");
      console.log(`\n${formatShape(result)}`);
      results.push(result);
    }
    const isSquareAndWide = (name: string): boolean => {
      const { seqLenQ, seqLenKv, headDim } = shapes.find((shape) => shape.name === name)!;
      return seqLenQ === seqLenKv && headDim >= 64;
    };
    const bars = results.map((result) => ({ ...result, isSquareAndWide: isSquareAndWide(result.shape) }));
    console.log(`\nheed beside the fastest form of onnxruntime-web\n${formatBars(bars)}`);
  }

  let decode: DecodeRow[] = [];
  if (options.decode ?? everything) {
    const variant = "heed relaxed" in peers ? "relaxed" : "simd";
    const runtimes = loaded.filter(({ name }) => name.startsWith("onnxruntime"));
    const measured = await measureDecode(effort, variant, runtimes, progress);
    progress("");
    console.log(`\ndecoding from a resident KV cache\n${formatDecode(measured)}`);
    decode = measured.rows;
  }

  let layer: LayerRow[] = [];
  if (options.layer ?? everything) {
    const { loadWebRuntime, loadNodeRuntime } = await import("./peers/onnxruntime.ts");
    const limit = { entrant: await makeLimit(), flops: LIMIT_FLOPS };
    const runtimes = [await loadWebRuntime(), await loadNodeRuntime()];
    for (const { name, version } of runtimes) peers[name] = version;
    const measured = await measureLayer(effort, runtimes, limit, progress);
    progress("");
    console.log(`\nthe linear layer (rows × inFeatures × outFeatures) and the whole layer\n${formatLayer(measured)}`);
    layer = measured.rows;
  }

  let scaling: Figure[] = [];
  if (options.scaling ?? everything) {
    scaling = await measureScaling(effort, options.quick, progress);
    progress("");
    console.log(`\nheed beside itself\n${formatFigures(scaling)}`);
  }

  let weights: Figure[] = [];
  if (options.weights ?? everything) {
    weights = await measureWeights(effort, progress);
    progress("");
    console.log(`\nattention weights\n${formatFigures(weights)}`);
  }

  const seconds = (performance.now() - started) / 1000;
  const run = {
    date: new Date().toISOString(),
    node: process.versions.node,
    cpu: cpus()[0]?.model.trim(),
    quick: options.quick,
    seconds,
    peers,
    results,
    decode,
    layer,
    scaling,
    weights,
  };
  await mkdir("results", { recursive: true });
  await writeFile(options.json, `${JSON.stringify(run, undefined, 2)}\n`);
  console.log(`\n${seconds.toFixed(0)} s; written to ${options.json}`);
}

/** Prepares every peer, checks each form against f64, and times those that are right. */
async function race(
  shape: Shape,
  peers: readonly Peer[],
  limit: Entrant,
  effort: Effort,
  say: (text: string) => void,
): Promise<ShapeResult> {
  say("inputs and f64 reference");
  const problem = makeProblem(shape);
  const reference = makeReference(problem);
  const entrants: Contender[] = [];
  const errors = new Map<string, number>();
  const skipped: string[] = [];
  for (const peer of peers) {
    say(`preparing ${peer.name}`);
    try {
      entrants.push(...(await peer.prepare(problem)));
    } catch (error) {
      skipped.push(`${peer.name} skipped: ${messageOf(error)}`);
    }
  }
  const right: Contender[] = [];
  for (const entrant of entrants) {
    const label = [entrant.name, entrant.form].filter(Boolean).join(", ");
    say(`checking ${label}`);
    try {
      const start = performance.now();
      const out = await entrant.result();
      entrant.firstCall = performance.now() - start;
      const error = maxError(out, reference);
      if (!(error <= reference.tolerance)) {
        throw new Error(`wrong by ${error.toExponential(1)}, at most ${reference.tolerance.toExponential(1)} expected`);
      }
      errors.set(entrant.name, Math.max(error, errors.get(entrant.name) ?? 0));
      right.push(entrant);
    } catch (error) {
      skipped.push(`${label} skipped: ${messageOf(error)}`);
    }
  }
  const timings = await measure([...right, limit], effort, say);
  for (const entrant of entrants) await entrant.dispose?.();
  return resultOf(shape.name, { flops: flops(problem), limitFlops: LIMIT_FLOPS }, timings, errors, skipped);
}

function matches(name: string, wanted: readonly string[]): boolean {
  return wanted.length === 0 || wanted.some((text) => name.includes(text.replaceAll(/(?<=\d)x(?=\d)/g, "×")));
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!.slice(0, 100);
}
