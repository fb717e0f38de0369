// The linear layer beside MatMul and Add of onnxruntime.
import type { Heed } from "heed";
import type { Node } from "../peers/onnx.ts";
import type { Form } from "../peers/onnx-forms.ts";
import type { OnnxRuntime } from "../peers/onnxruntime.ts";
import { transpose } from "../peers/peer.ts";
import { type Race, floats, makeFloats, toleranceOf } from "../harness/race.ts";

/** rows × inFeatures × outFeatures; a row alone is what decoding multiplies. */
export const PRODUCTS = [
  [512, 768, 768],
  [512, 768, 3072],
  [512, 3072, 768],
  [1, 768, 768],
] as const;

export async function linearRace(
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
