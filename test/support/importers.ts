// The weights of layers as PyTorch, Hugging Face and Keras name and lay them out.
import type { Weight } from "../../bindings/layer/linear-weights.ts";
import { type Dims, type Projection, type Projections, projectionsOf } from "./layer.ts";
import { transposed } from "./linear.ts";
import { uniform } from "./random.ts";

export const numHeads = 4;
export const square: Dims = {
  embedDim: 24,
  numHeads,
  numKvHeads: 4,
  headDim: 6,
  valueDim: 6,
  kvDim: { k: 24, v: 24 },
  outDim: 24,
};
export const grouped: Dims = { ...square, numKvHeads: 2, headDim: 10, valueDim: 10 };
/** Keras says every size. */
export const free: Dims = { ...grouped, valueDim: 7, outDim: 13, kvDim: { k: 15, v: 17 } };

export const weights = projectionsOf(square, uniform(1));
export const ofGroups = projectionsOf(grouped, uniform(2));
export const ofFree = projectionsOf(free, uniform(3));

export type Dict = Record<string, Weight>;

export const biasOf = ({ bias }: Projection): Weight => ({ data: bias!, shape: [bias!.length] });

/** Tensors named as in NAME.weight and NAME.bias. */
export function named(projections: Projections, names: Record<keyof Projections, string>, biased = true): Dict {
  const dict: Dict = {};
  for (const key of ["q", "k", "v", "out"] as const) {
    dict[`${names[key]}.weight`] = projections[key]!.weight;
    if (biased) dict[`${names[key]}.bias`] = biasOf(projections[key]!);
  }
  return dict;
}

/** Arrays one after the other. */
function joined(...parts: ArrayLike<number>[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(parts.flatMap((part) => Array.from(part)));
}

/** torch.nn.MultiheadAttention with one in_proj_weight. */
export function torchDict({ q, k, v, out }: Projections, prefix = ""): Dict {
  const width = q.weight.shape[0];
  return {
    [`${prefix}in_proj_weight`]: {
      data: joined(q.weight.data, k.weight.data, v.weight.data),
      shape: [3 * width, width],
    },
    [`${prefix}in_proj_bias`]: { data: joined(q.bias!, k.bias!, v.bias!), shape: [3 * width] },
    [`${prefix}out_proj.weight`]: out!.weight,
    [`${prefix}out_proj.bias`]: biasOf(out!),
  };
}

/** Without biases. */
export function bare({ q, k, v, out }: Projections): Projections {
  return { q: { weight: q.weight }, k: { weight: k.weight }, v: { weight: v.weight }, out: { weight: out!.weight } };
}

/** [inFeatures, outFeatures] of projections side by side. */
export function sideBySide(...all: Projection[]): Weight & { data: Float32Array } {
  const inFeatures = all[0]!.weight.shape[1];
  const rows = joined(...all.map(({ weight }) => weight.data));
  const outFeatures = rows.length / inFeatures;
  return { data: transposed(rows, outFeatures, inFeatures), shape: [inFeatures, outFeatures] };
}

export function kerasDict(
  { q, k, v, out }: Projections,
  { numHeads, numKvHeads, headDim, valueDim, outDim }: Dims,
): Dict {
  const of = (name: string, one: Projection, heads: number, dim: number): Dict => ({
    [`${name}/kernel`]: { data: sideBySide(one).data, shape: [one.weight.shape[1], heads, dim] },
    [`${name}/bias`]: { data: one.bias!, shape: [heads, dim] },
  });
  return {
    ...of("query", q, numHeads, headDim),
    ...of("key", k, numKvHeads, headDim),
    ...of("value", v, numKvHeads, valueDim),
    "attention_output/kernel": { data: sideBySide(out!).data, shape: [numHeads, valueDim, outDim] },
    "attention_output/bias": biasOf(out!),
  };
}

export const renamed = (dict: Dict, rename: (name: string) => string): Dict =>
  Object.fromEntries(Object.entries(dict).map(([name, tensor]) => [rename(name), tensor]));

export const llama = { q: "q_proj", k: "k_proj", v: "v_proj", out: "o_proj" };
export const bert = { q: "self.query", k: "self.key", v: "self.value", out: "output.dense" };
export const gpt2 = (): Dict => ({
  "c_attn.weight": sideBySide(weights.q, weights.k, weights.v),
  "c_attn.bias": { data: joined(weights.q.bias!, weights.k.bias!, weights.v.bias!), shape: [72] },
  "c_proj.weight": sideBySide(weights.out!),
  "c_proj.bias": biasOf(weights.out!),
});

export const separate = projectionsOf({ ...square, kvDim: { k: 15, v: 17 } }, uniform(4));
export const torchSeparate: Dict = {
  q_proj_weight: separate.q.weight,
  k_proj_weight: separate.k.weight,
  v_proj_weight: separate.v.weight,
  in_proj_bias: { data: joined(separate.q.bias!, separate.k.bias!, separate.v.bias!), shape: [72] },
  "out_proj.weight": separate.out!.weight,
};

/** A tensor of zeros. */
export const zeros = (...shape: number[]): Weight => ({
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
  shape,
});

/** Matrices of q, k and v. */
const FUSED = /^(c_attn|qkv_proj|Wqkv|qkv|W_pack|query_key_value|wqkv)\./;

/** Tensors of a layer of 8 floats below a prefix; `NAME` is NAME.weight and NAME.bias, `NAME.weight` that alone. */
export function below(prefix: string, ...names: string[]): Dict {
  const dict: Dict = {};
  for (const name of names) {
    const all = name.includes("weight") || name.includes("bias") ? [name] : [`${name}.weight`, `${name}.bias`];
    for (const one of all) {
      const rows = FUSED.test(one) ? 24 : 8;
      dict[prefix + one] = /bias$|norm/i.test(one) ? zeros(rows) : zeros(rows, 8);
    }
  }
  return dict;
}

/** The weights without the biases. */
export const weightNames = (...names: string[]): string[] => names.map((name) => `${name}.weight`);
export const llamaNames = weightNames("q_proj", "k_proj", "v_proj", "o_proj");
export const optNames = ["q_proj", "k_proj", "v_proj", "out_proj"];
export const bertNames = ["self.query", "self.key", "self.value", "output.dense"];
