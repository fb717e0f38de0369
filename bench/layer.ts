// The linear layer and the whole multi-head layer, beside the same graphs in onnxruntime.
import { type Heed, type MultiHeadWeights, load } from "heed";
import { type Effort, type Entrant, type Timing, measure } from "./measure.ts";
import { type Input, Int, type Node } from "./peers/onnx.ts";
import type { Form } from "./peers/onnx-forms.ts";
import type { OnnxRuntime } from "./peers/onnxruntime.ts";
import { type Contender, transpose } from "./peers/peer.ts";
import { makeReference } from "./reference.ts";
import { formatTable, gflops, milliseconds } from "./report.ts";
import { type Floats, makeProblem, mulberry32, shape } from "./shapes.ts";

/** rows × inFeatures × outFeatures; a row alone is what decoding multiplies. */
const PRODUCTS = [
  [512, 768, 768],
  [512, 768, 3072],
  [512, 3072, 768],
  [1, 768, 768],
] as const;

/** Of the whole layer: tokens, dims and heads. */
const [SEQ_LEN, WIDTH, HEADS] = [512, 768, 12];
const LAYER = `layer 1×${SEQ_LEN}×${WIDTH}, ${HEADS} heads`;

/** A line of the table. */
export interface LayerRow {
  what: string;
  name: string;
  form: string;
  /** Milliseconds a call, median. */
  median: number;
  gflops: number;
  percentOfLimit: number;
  maxError: number;
}

/** A ratio that the project promises itself. */
export interface LayerBar {
  what: string;
  value: number;
  atLeast: number;
}

interface Race {
  what: string;
  flops: number;
  entrants: (Contender & { dispose?(): unknown })[];
  /** Some results of the product in f64: their places and values. */
  exact: Map<number, number>;
  tolerance: number;
}

export async function measureLayer(
  effort: Effort,
  runtimes: readonly OnnxRuntime[],
  limit: { entrant: Entrant; flops: number },
  progress: (text: string) => void,
): Promise<{ rows: LayerRow[]; bars: LayerBar[]; skipped: string[] }> {
  const builds: Heed[] = [];
  const skipped: string[] = [];
  for (const variant of ["relaxed", "simd"] as const) {
    try {
      builds.push(await load({ variant }));
    } catch (error) {
      skipped.push(`heed ${variant} skipped: ${messageOf(error)}`);
    }
  }
  const rows: LayerRow[] = [];
  const races = [
    ...PRODUCTS.map((dims) => () => productRace(builds, runtimes, dims)),
    () => layerRace(builds, runtimes),
  ];
  for (const make of races) {
    const { what, flops, entrants, exact, tolerance } = await make();
    const say = (text: string): void => progress(`${what}: ${text}`);
    const errors = new Map<string, number>();
    const right: Contender[] = [];
    for (const entrant of entrants) {
      say(`checking ${entrant.name} ${entrant.form}`);
      try {
        const out = await entrant.result();
        const error = Math.max(...Array.from(exact, ([at, value]) => Math.abs(out[at]! - value)));
        if (!(error <= tolerance)) throw new Error(`wrong by ${error}`);
        errors.set(entrant.name, Math.max(error, errors.get(entrant.name) ?? 0));
        right.push(entrant);
      } catch (error) {
        skipped.push(`${what}: ${entrant.name}, ${entrant.form} skipped: ${messageOf(error)}`);
      }
    }
    const timings = await measure([...right, limit.entrant], effort, say);
    const most = gflops(limit.flops, timings.find(({ kind }) => kind === "limit")!.median);
    for (const timing of timings) {
      if (timing.kind !== "limit") rows.push(rowOf(what, timing, flops, most, errors.get(timing.name)!));
    }
    for (const entrant of entrants) await entrant.dispose?.();
  }
  for (const heed of builds) heed.dispose();
  return { rows, bars: barsOf(rows), skipped };
}

/** Uniform, of variance 1 / `terms`, so that sums of as many products with rows of variance 1 have variance 1. */
function makeFloats(length: number, seed: number, terms = 1): Floats {
  const random = mulberry32(seed);
  return Float32Array.from({ length }, () => (random() * 2 - 1) * Math.sqrt(3 / terms));
}

/** The largest error that a sum of `terms` products of variance 1 / terms may have in f32, whatever its order: 16 standard deviations. */
function toleranceOf(terms: number): number {
  return 16 * Math.sqrt(terms) * 2 ** -24;
}

async function productRace(
  builds: readonly Heed[],
  runtimes: readonly OnnxRuntime[],
  [rows, inFeatures, outFeatures]: readonly [number, number, number],
): Promise<Race> {
  const x = makeFloats(rows * inFeatures, 1);
  const weight = makeFloats(outFeatures * inFeatures, 2, inFeatures);
  const bias = makeFloats(outFeatures, 3);
  const exact = new Map<number, number>();
  for (let n = 0, at = 0; n < 512; n++, at = Math.floor((n * (rows * outFeatures - 1)) / 511)) {
    const [row, o] = [Math.floor(at / outFeatures), at % outFeatures];
    let sum = bias[o]!;
    for (let t = 0; t < inFeatures; t++) sum += x[row * inFeatures + t]! * weight[o * inFeatures + t]!;
    exact.set(at, sum);
  }
  const entrants: Race["entrants"] = [];
  const shaped = { data: weight, shape: [outFeatures, inFeatures] };
  for (const heed of builds) {
    const packed = heed.packLinear(shaped, bias);
    const out = new Float32Array(rows * outFeatures);
    const [xIn, to] = [heed.tensor(x.length), heed.tensor(out.length)];
    xIn.data.set(x);
    entrants.push({
      name: `heed ${heed.variant}`,
      form: "copied in and out",
      kind: "heed",
      run: () => heed.linear(x, packed, undefined, { out }),
      result: () => heed.linear(x, packed).out,
    });
    entrants.push({
      name: `heed ${heed.variant}, resident`,
      form: "",
      kind: "heed",
      run: () => heed.linear(xIn, packed, undefined, { out: to }),
      result: () => heed.linear(xIn, packed, undefined, { out: to }).out.data.slice(),
      dispose: () => [packed, xIn, to].forEach((own) => own.dispose()),
    });
  }
  const w = floats(transpose(weight, outFeatures, inFeatures), [inFeatures, outFeatures]);
  const given = { x: floats(x, [rows, inFeatures]) };
  const b = floats(bias, [outFeatures]);
  const nodes: Node[] = [
    { op: "MatMul", inputs: ["x", "w"], outputs: ["product"] },
    { op: "Add", inputs: ["product", "b"], outputs: ["out"] },
  ];
  const toRows = (out: Float32Array): Float32Array => out;
  const forms: Form[] = [
    { name: "MatMul + Add, constant weight", inputs: given, constants: { w, b }, nodes, toRows },
    { name: "MatMul + Add", inputs: { ...given, w, b }, nodes, toRows },
  ];
  for (const runtime of runtimes) for (const form of forms) entrants.push(await runtime.prepare(form));
  const what = `linear ${rows}×${inFeatures}×${outFeatures}`;
  return { what, flops: 2 * rows * inFeatures * outFeatures, entrants, exact, tolerance: toleranceOf(inFeatures) };
}

async function layerRace(builds: readonly Heed[], runtimes: readonly OnnxRuntime[]): Promise<Race> {
  const x = makeFloats(SEQ_LEN * WIDTH, 1);
  const [q, k, v, out] = [2, 3, 4, 5].map((seed) => makeFloats(WIDTH * WIDTH, seed, WIDTH)) as [
    Floats,
    Floats,
    Floats,
    Floats,
  ];
  const bias = makeFloats(4 * WIDTH, 6);
  const linear = (weight: Floats, n: number): MultiHeadWeights["q"] => ({
    weight: { data: weight, shape: [WIDTH, WIDTH] },
    bias: bias.subarray(n * WIDTH, (n + 1) * WIDTH),
  });
  const weights = { q: linear(q, 0), k: linear(k, 1), v: linear(v, 2), out: linear(out, 3) };

  const entrants: Race["entrants"] = [];
  for (const heed of builds) {
    const layer = heed.createMultiHeadAttention({ numHeads: HEADS, weights });
    const to = new Float32Array(SEQ_LEN * WIDTH);
    entrants.push({
      name: `heed ${heed.variant}`,
      form: "copied in and out",
      kind: "heed",
      run: () => layer.forward(x, { out: to }),
      result: () => layer.forward(x).out,
      dispose: () => layer.dispose(),
    });
  }
  for (const runtime of runtimes) {
    for (const form of layerForms(x, [q, k, v, out], bias)) entrants.push(await runtime.prepare(form));
  }
  const problem = makeProblem(shape(`1×${HEADS}×${SEQ_LEN}×${SEQ_LEN}×${WIDTH / HEADS}`));
  const flops = 8 * SEQ_LEN * WIDTH * WIDTH + 4 * SEQ_LEN * SEQ_LEN * WIDTH;
  const exact = exactRows(x, [q, k, v, out], bias);
  // Attention is a mean of rows of v, each off by what the tolerance of a product allows; the projection back adds its own.
  const tolerance = 2 * toleranceOf(WIDTH) + makeReference(problem).tolerance;
  return { what: LAYER, flops, entrants, exact, tolerance };
}

type Weights = readonly [q: Floats, k: Floats, v: Floats, out: Floats];

/** The layer as graphs: a MatMul for each projection, or com.microsoft.Attention, which has them within. */
function layerForms(x: Floats, weights: Weights, bias: Floats): Form[] {
  const inputs = { x: floats(x, [1, SEQ_LEN, WIDTH]) };
  const [wq, wk, wv, wo] = weights.map((weight) => transpose(weight, WIDTH, WIDTH)) as unknown as Weights;
  const square = [WIDTH, WIDTH];
  const back: Node[] = [
    { op: "MatMul", inputs: ["heads", "wo"], outputs: ["product"] },
    { op: "Add", inputs: ["product", "bo"], outputs: ["out"] },
  ];
  const shared = {
    wo: floats(wo, square),
    bo: floats(bias.slice(3 * WIDTH), [WIDTH]),
    bqkv: floats(bias.slice(0, 3 * WIDTH), [3 * WIDTH]),
  };
  const attributes: Node["attributes"] = { num_heads: new Int(HEADS) };
  const packed = new Float32Array(3 * WIDTH * WIDTH);
  [wq, wk, wv].forEach((weight, n) => {
    for (let t = 0; t < WIDTH; t++) packed.set(weight.subarray(t * WIDTH, (t + 1) * WIDTH), (3 * t + n) * WIDTH);
  });
  const toRows = (out: Float32Array): Float32Array => out;
  return [
    {
      name: "MatMul ×3, MultiHeadAttention with bias, MatMul + Add",
      inputs,
      constants: { ...shared, wq: floats(wq, square), wk: floats(wk, square), wv: floats(wv, square) },
      nodes: [
        ...["q", "k", "v"].map((name) => ({ op: "MatMul", inputs: ["x", `w${name}`], outputs: [name] })),
        {
          op: "MultiHeadAttention",
          domain: "com.microsoft",
          inputs: ["q", "k", "v", "bqkv"],
          outputs: ["heads"],
          attributes,
        },
        ...back,
      ],
      toRows,
    },
    {
      name: "com.microsoft.Attention, MatMul + Add",
      inputs,
      constants: { ...shared, wqkv: floats(packed, [WIDTH, 3 * WIDTH]) },
      nodes: [
        { op: "Attention", domain: "com.microsoft", inputs: ["x", "wqkv", "bqkv"], outputs: ["heads"], attributes },
        ...back,
      ],
      toRows,
    },
  ];
}

/** Two rows of the layer's result in f64. */
function exactRows(x: Floats, [wq, wk, wv, wo]: Weights, bias: Floats): Map<number, number> {
  const project = (row: ArrayLike<number>, start: number, weight: Floats, n: number): Float64Array =>
    Float64Array.from({ length: WIDTH }, (_, o) => {
      let sum = bias[n * WIDTH + o]!;
      for (let t = 0; t < WIDTH; t++) sum += row[start + t]! * weight[o * WIDTH + t]!;
      return sum;
    });
  const rows = Array.from({ length: SEQ_LEN }, (_, j) => j);
  const k = rows.map((j) => project(x, j * WIDTH, wk, 1));
  const v = rows.map((j) => project(x, j * WIDTH, wv, 2));
  const dim = WIDTH / HEADS;
  const exact = new Map<number, number>();
  for (const i of [0, SEQ_LEN - 1]) {
    const q = project(x, i * WIDTH, wq, 0);
    const attended = new Float64Array(WIDTH);
    for (let start = 0; start < WIDTH; start += dim) {
      const p = k.map((key) => {
        let dot = 0;
        for (let d = start; d < start + dim; d++) dot += q[d]! * key[d]!;
        return Math.exp(dot / Math.sqrt(dim));
      });
      const l = p.reduce((sum, weight) => sum + weight, 0);
      for (let d = start; d < start + dim; d++)
        attended[d] = p.reduce((sum, weight, j) => sum + weight * v[j]![d]!, 0) / l;
    }
    project(attended, 0, wo, 3).forEach((value, o) => exact.set(i * WIDTH + o, value));
  }
  return exact;
}

function floats(data: Floats, dims: number[]): Input {
  return { type: "float32", data, dims };
}

function rowOf(what: string, { name, form, median }: Timing, flops: number, most: number, maxError: number): LayerRow {
  const rate = gflops(flops, median);
  return { what, name, form, median, gflops: rate, percentOfLimit: (100 * rate) / most, maxError };
}

function barsOf(rows: readonly LayerRow[]): LayerBar[] {
  const bars: LayerBar[] = [];
  const what = new Set(rows.map((row) => row.what));
  for (const one of what) {
    const web = rows.find((row) => row.what === one && row.name === "onnxruntime-web");
    for (const { name, median } of rows.filter((row) => row.what === one && row.name.startsWith("heed"))) {
      if (!web || name.includes("resident")) continue;
      bars.push({ what: `${one}, ${name} × onnxruntime-web`, value: web.median / median, atLeast: barOf(one, name) });
    }
  }
  return bars;
}

/** A single row is a stream of the weight for everyone; it only must not be slower. */
function barOf(what: string, name: string): number {
  if (what.startsWith("linear 1×")) return 1;
  return name.includes("relaxed") ? 1.5 : 1.2;
}

export function formatLayer({ rows, bars, skipped }: Awaited<ReturnType<typeof measureLayer>>): string {
  const table = formatTable(
    ["", "", "ms", "GFLOP/s", "% of limit", "error", "form"],
    rows.map((row) => [
      row.what,
      row.name,
      milliseconds(row.median),
      row.gflops.toFixed(1),
      row.percentOfLimit.toFixed(0),
      row.maxError.toExponential(0),
      row.form,
    ]),
    2,
  );
  const verdicts = formatTable(
    ["", "ratio", "bar", ""],
    bars.map(({ what, value, atLeast }) => [what, value.toFixed(2), `≥ ${atLeast}`, value >= atLeast ? "ok" : "below"]),
  );
  return [table, ...skipped, "", verdicts].join("\n");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.split("\n")[0]!.slice(0, 100) : String(error);
}
