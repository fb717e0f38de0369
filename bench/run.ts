// Measures the tables that were asked for, prints them and writes them to a file.
import { raceShape } from "./cases/attention.ts";
import { type ShapeResult, formatRatios, formatShape } from "./cases/attention-report.ts";
import { type DecodeRow, formatDecode, measureDecode } from "./cases/decode.ts";
import { type LayerRow, formatLayer, measureLayer } from "./cases/layer.ts";
import { measureScaling } from "./cases/scaling.ts";
import { SHAPES } from "./cases/shapes.ts";
import { measureWeights } from "./cases/weights.ts";
import { type Figure, formatFigures } from "./harness/figure.ts";
import { LIMIT_FLOPS, makeLimit } from "./harness/limit.ts";
import { FULL, QUICK, type Effort } from "./harness/measure.ts";
import { messageOf, progress } from "./harness/report.ts";
import { type Options, type Table, matches, namesTables, wants } from "./options.ts";
import { type OnnxRuntime, loadNodeRuntime, loadWebRuntime } from "./peers/onnxruntime.ts";
import type { Peer } from "./peers/peer.ts";
import { PEERS } from "./peers/registry.ts";
import { headOf, print, writeRun } from "./results.ts";

export async function runTables(options: Options, file: string): Promise<void> {
  const started = performance.now();
  const effort = { ...(options.quick ? QUICK : FULL) };
  if (options.seconds !== undefined) effort.budget = 1000 * options.seconds;
  console.log(headOf("one thread"));

  // Some shapes or some peers of the attention table alone are not a run of everything.
  const isFiltered = options.shape.length > 0 || options.peer.length > 0;
  const wanted = (table: Table): boolean => (isFiltered ? options[table] === true : wants(options, table));
  const attention = !namesTables(options);

  const loaded: Peer[] = attention || wanted("decode") ? await loadPeers(options.peer) : [];
  const results = attention ? await attentionTables(options, loaded, effort) : [];
  const decode = wanted("decode") ? await decodeTable(loaded, effort) : [];
  const layer = wanted("layer") ? await layerTable(effort) : { rows: [], runtimes: [] };
  const scaling = wanted("scaling") ? await measureScaling(effort, options.quick, progress) : [];
  if (scaling.length > 0) print("heed beside itself", formatFigures(scaling));
  const weights: Figure[] = wanted("weights") ? await measureWeights(effort, progress) : [];
  if (weights.length > 0) print("attention weights", formatFigures(weights));

  await writeRun(file, started, {
    quick: options.quick,
    peers: Object.fromEntries([...loaded, ...layer.runtimes].map(({ name, version }) => [name, version])),
    results,
    decode,
    layer: layer.rows,
    scaling,
    weights,
  });
}

/** The peers that run here; says which do not, and why. */
async function loadPeers(names: readonly string[]): Promise<Peer[]> {
  const loaded: Peer[] = [];
  const absent: string[] = [];
  for (const peer of PEERS.filter(({ name }) => matches(name, names))) {
    try {
      loaded.push(await peer.load());
    } catch (error) {
      absent.push(`${peer.name} skipped: ${messageOf(error)}`);
    }
  }
  console.log([...loaded.map(({ name, version }) => `${name} ${version}`), ...absent].join("; "));
  return loaded;
}

async function attentionTables(options: Options, peers: readonly Peer[], effort: Effort): Promise<ShapeResult[]> {
  const shapes = SHAPES.filter(({ name, quick }) => matches(name, options.shape) && (quick || !options.quick));
  const limit = await makeLimit();
  const results: ShapeResult[] = [];
  for (const [n, shape] of shapes.entries()) {
    const say = (text: string): void => progress(`[${n + 1}/${shapes.length}] ${shape.name}: ${text}`);
    const result = await raceShape(shape, peers, limit, effort, say);
    progress("");
    console.log(`\n${formatShape(result)}`);
    results.push(result);
  }
  const ratios = results.map((result, n) => {
    const { seqLenQ, seqLenKv, headDim } = shapes[n]!;
    return { ...result, isSquareAndWide: seqLenQ === seqLenKv && headDim >= 64 };
  });
  print("heed beside the fastest form of onnxruntime-web", formatRatios(ratios));
  return results;
}

async function decodeTable(loaded: readonly Peer[], effort: Effort): Promise<DecodeRow[]> {
  const variant = loaded.some(({ name }) => name === "heed relaxed") ? "relaxed" : "simd";
  const runtimes = loaded.filter(({ name }) => name.startsWith("onnxruntime"));
  const measured = await measureDecode(effort, variant, runtimes, progress);
  print("decoding from a resident KV cache", formatDecode(measured));
  return measured.rows;
}

async function layerTable(effort: Effort): Promise<{ rows: LayerRow[]; runtimes: OnnxRuntime[] }> {
  const limit = { entrant: await makeLimit(), flops: LIMIT_FLOPS };
  const runtimes = [await loadWebRuntime(), await loadNodeRuntime()];
  const measured = await measureLayer(effort, runtimes, limit, progress);
  print("the linear layer (rows × inFeatures × outFeatures) and the whole layer", formatLayer(measured));
  return { rows: measured.rows, runtimes };
}
