import { readFile, writeFile } from "node:fs/promises";
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { ShapeResult } from "./cases/attention-report.ts";

/** Shapes in the picture, from the results of a full run; the rest is in the table. */
const SHAPES = [
  "1×12×128×128×64",
  "1×12×512×512×64",
  "1×8×1024×1024×64",
  "1×8×2048×2048×128",
  "1×8×2048×2048×128 causal",
  "1×32/8×512×512×128",
];

/** From the top of each group down; what moves its arguments into its own heap at every call stands as it is used. */
const BARS: Record<string, { label: string; color: string }> = {
  "heed relaxed, copied": { label: "heed, relaxed SIMD", color: "#d9480f" },
  "heed simd, copied": { label: "heed, plain SIMD", color: "#ff922b" },
  "onnxruntime-web": { label: "onnxruntime-web", color: "#4263eb" },
  "jax-js wasm": { label: "jax-js", color: "#748ffc" },
  "tfjs-wasm": { label: "tfjs-wasm", color: "#91a7ff" },
  "plain JS": { label: "plain JS", color: "#adb5bd" },
};
const NAMES = Object.keys(BARS);

/** Draws the GFLOP/s in the results of a run, `from`, as an SVG. */
export async function drawChart(from: string, to: string): Promise<void> {
  const run = JSON.parse(await readFile(from, "utf8")) as { node: string; cpu: string; results: ShapeResult[] };
  const results = SHAPES.flatMap((name) => run.results.filter(({ shape }) => shape === name));
  const shown = results.length > 0 ? results : run.results;
  const bars = shown.flatMap(({ shape, rows }) =>
    rows.filter(({ name }) => name in BARS).map((row) => ({ ...row, shape })),
  );
  const present = NAMES.filter((name) => bars.some((bar) => bar.name === name));
  const limit = Math.max(...shown.map((result) => result.limit));

  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const svg = Plot.plot({
    document,
    width: 760,
    height: 60 + shown.length * (present.length * 15 + 14),
    marginLeft: 200,
    marginRight: 70,
    style: { fontFamily: "system-ui, sans-serif", fontSize: "11px", background: "white", color: "#212529" },
    x: { label: "GFLOP/s, one thread, f32 →", domain: [0, Math.ceil(limit)], grid: true, labelAnchor: "right" },
    y: { axis: null, domain: present },
    fy: { label: null, domain: shown.map(({ shape }) => shape), padding: 0.12 },
    marks: [
      Plot.axisFy({ anchor: "left", label: null, fontWeight: 600 }),
      Plot.barX(bars, { fy: "shape", y: "name", x: "gflops", fill: ({ name }: { name: string }) => BARS[name]!.color }),
      Plot.text(bars, {
        fy: "shape",
        y: "name",
        x: "gflops",
        text: ({ name, gflops }: { name: string; gflops: number }) =>
          `${gflops.toFixed(gflops < 10 ? 1 : 0)}  ${BARS[name]!.label}`,
        textAnchor: "start",
        dx: 4,
      }),
      Plot.ruleX([limit], { strokeDasharray: "4 3", stroke: "#495057" }),
      Plot.text([limit], {
        x: (x: number) => x,
        text: () => "limit of 128-bit SIMD",
        frameAnchor: "top",
        dy: -8,
        fy: () => shown[0]!.shape,
      }),
      Plot.ruleX([0]),
    ],
  });
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  await writeFile(to, `${svg.outerHTML}\n`);
  console.log(`${to}: ${shown.length} shapes of ${from} (Node ${run.node}, ${run.cpu})`);
}
