// torch.nn.TransformerEncoderLayer and TransformerDecoderLayer (norm_first and batch_first False) on the layer and the
// GEMM of heed; the norms, the activations and the sums are plain TypeScript.

import { MultiHeadAttention } from "heed";
import type { ForwardOptions } from "../../bindings/layer/forward-options.ts";
import type { Heed } from "../../bindings/heed.ts";
import type { OnnxTensor } from "../../bindings/onnx/index.ts";
import { type CaseRef, type Value, type Values, number } from "./load.ts";

type Floats = Float32Array<ArrayBuffer>;

export function torchLayer(heed: Heed, inputs: Values, { attrs }: CaseRef): Partial<Record<string, OnnxTensor>> {
  const dict = inputs as Record<string, Value>;
  const source = (dict["src"] ?? dict["tgt"])!;
  const [length, batch, width] = source.shape as [number, number, number];
  const padding = dict["src_key_padding_mask"];
  const masked = padding && { data: Uint8Array.from(padding.data), shape: [batch, 1, 1, length] };

  const attend = (prefix: string, x: Floats, options: ForwardOptions): Floats => {
    const weights = MultiHeadAttention.fromTorch(dict, { prefix });
    using layer = heed.createMultiHeadAttention({ numHeads: number(attrs, "nhead", 1), ...weights });
    return layer.forward(x, { ...options, batch }).out as Floats;
  };
  const linear = (prefix: string, x: Floats): Floats =>
    heed.linear(x, dict[`${prefix}.weight`]!, dict[`${prefix}.bias`]).out;
  const norm = (prefix: string, x: Floats): Floats =>
    normalised(x, dict[`${prefix}.weight`]!.data, dict[`${prefix}.bias`]!.data);

  let x = swapped(source.data, length, batch, width);
  x = norm("norm1", added(x, attend("self_attn", x, { dropMask: masked })));
  let norms = 1;
  if (dict["memory"]) {
    const { data, shape } = dict["memory"];
    const context = swapped(data, shape[0]!, batch, width);
    x = norm("norm2", added(x, attend("multihead_attn", x, { context })));
    norms = 2;
  }
  const hidden = linear("linear1", x).map(attrs["activation"] === "gelu" ? gelu : (value) => Math.max(0, value));
  x = norm(`norm${norms + 1}`, added(x, linear("linear2", hidden)));
  return { output: { data: swapped(x, batch, length, width), shape: [length, batch, width] } };
}

/** [a, b, width] as [b, a, width]. */
function swapped(from: Float32Array, a: number, b: number, width: number): Floats {
  const to = new Float32Array(from.length);
  for (let n = 0; n < a * b; n++) {
    to.set(from.subarray(n * width, (n + 1) * width), ((n % b) * a + Math.floor(n / b)) * width);
  }
  return to;
}

function added(x: Floats, y: Floats): Floats {
  return x.map((value, at) => value + y[at]!);
}

/** LayerNorm over rows as wide as its weight, with torch's epsilon. */
function normalised(x: Floats, weight: Floats, bias: Floats): Floats {
  const width = weight.length;
  return x.map((value, at) => {
    const row = Array.from(x.subarray(at - (at % width), at - (at % width) + width));
    const mean = row.reduce((sum, y) => sum + y, 0) / width;
    const variance = row.reduce((sum, y) => sum + (y - mean) ** 2, 0) / width;
    return ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[at % width]! + bias[at % width]!;
  });
}

/** x·Φ(x), with erf by its Taylor series. */
function gelu(x: number): number {
  const z = x / Math.SQRT2;
  let term = z;
  let sum = z;
  for (let n = 1; Math.abs(term) > 1e-12 * Math.abs(sum); n++) {
    term *= (-z * z) / n;
    sum += term / (2 * n + 1);
  }
  return (x / 2) * (1 + (2 / Math.sqrt(Math.PI)) * sum);
}
