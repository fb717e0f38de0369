// The weights of other libraries as options of `heed.createMultiHeadAttention`: pure functions of tensors { data, shape }, whose shapes they
// check and name in errors. What a layer computes besides its projections, and heed does not, is refused by name.

import { checkInteger, checkObject, wrongKind, wrongValue } from "../check.ts";
import type { LayerDefaults, MultiHeadAttentionOptions, MultiHeadWeights } from "../layer/options.ts";
import type { MultiHeadAttention as Layer } from "../layer/multi-head-attention.ts";
import { type Named, Names, type StateDict, columnsOf, rowsOf, sizesOf } from "./state-dict.ts";
import type { LinearWeights, Weight } from "../layer/linear-weights.ts";

/** What the importers return: to be spread into the options of `createMultiHeadAttention`, beside what no weights say. */
export type ImportedLayer = Pick<
  MultiHeadAttentionOptions,
  "embedDim" | "headDim" | "numKvHeads" | "valueDim" | "outDim"
> &
  LayerDefaults & { numHeads?: number; kvDim: { k: number; v: number }; weights: MultiHeadWeights };

/** Where in a state dict the layer stands. */
export interface ImportOptions<N extends number | undefined = number | undefined> {
  /** What stands before the names, such as "encoder.layers.0.self_attn"; with or without the separator. Default nothing. */
  prefix?: string | undefined;
  /** Query heads, which weights alone do not say; here or beside the imported options. */
  numHeads?: N;
}

type Imported<N> = Omit<ImportedLayer, "numHeads"> & Heads<N>;

type Heads<N> = N extends number ? { numHeads: number } : { numHeads?: never };

function headsOf<N extends number | undefined>(numHeads: N | undefined): Heads<N> {
  const heads = numHeads === undefined ? {} : { numHeads: checkInteger("numHeads", numHeads, 1) };
  return heads as Heads<N>;
}

/** What `fromTorch` takes besides the state dict. */
export interface TorchOptions<N extends number | undefined = number | undefined> extends ImportOptions<N> {
  /** As the module was made; true is refused, since heed adds no key of zeros. */
  add_zero_attn?: boolean | undefined;
}

/**
 * torch.nn.MultiheadAttention (https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html): `in_proj_weight` or
 * `q_proj_weight`, `k_proj_weight` and `v_proj_weight`, `in_proj_bias`, `out_proj`. Its masks are True where masked: give them as `dropMask`.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for bias_k, bias_v and add_zero_attn
 */
function fromTorch<const N extends number | undefined = undefined>(
  stateDict: StateDict,
  options: TorchOptions<N> = {},
): Imported<N> {
  checkObject("options", options);
  const names = new Names("stateDict", stateDict, options.prefix);
  if (options.add_zero_attn) throw wrongValue("add_zero_attn", "false, since heed adds no key of zeros", true);
  for (const name of ["bias_k", "bias_v"])
    names.refuse(name, "to be absent, since heed adds no learned key (add_bias_kv)");

  const packed = names.find("in_proj_weight");
  let q: Weight;
  let k: Weight;
  let v: Weight;
  let embedDim: number;
  if (packed) {
    embedDim = sizesOf(packed, "[3·embedDim, embedDim]", undefined, undefined)[1]!;
    sizesOf(packed, "[3·embedDim, embedDim]", 3 * embedDim, embedDim);
    [q, k, v] = [0, 1, 2].map((n) => rowsOf(packed, n * embedDim, (n + 1) * embedDim)) as [Weight, Weight, Weight];
  } else {
    const own = names.get("q_proj_weight", "in_proj_weight");
    embedDim = sizesOf(own, "[embedDim, embedDim]", undefined, undefined)[1]!;
    sizesOf(own, "[embedDim, embedDim]", embedDim, embedDim);
    const [ofK, ofV] = [names.get("k_proj_weight"), names.get("v_proj_weight")];
    sizesOf(ofK, "[embedDim, kdim]", embedDim, undefined);
    sizesOf(ofV, "[embedDim, vdim]", embedDim, undefined);
    [q, k, v] = [own, ofK, ofV];
  }
  const bias = names.find("in_proj_bias");
  if (bias) sizesOf(bias, "[3·embedDim]", 3 * embedDim);
  const part = (n: number): Weight | undefined => bias && rowsOf(bias, n * embedDim, (n + 1) * embedDim);
  const out = names.get("out_proj.weight");
  sizesOf(out, "[embedDim, embedDim]", embedDim, embedDim);
  const outBias = names.find("out_proj.bias");
  if (outBias) sizesOf(outBias, "[embedDim]", embedDim);
  return {
    ...headsOf<N>(options.numHeads),
    embedDim,
    kvDim: { k: k.shape[1]!, v: v.shape[1]! },
    weights: {
      q: { weight: q, bias: part(0) },
      k: { weight: k, bias: part(1) },
      v: { weight: v, bias: part(2) },
      out: { weight: out, bias: outBias },
    },
  };
}

/** How the models of Hugging Face name q, k, v and out: Llama, Mistral, Qwen2, OPT, CLIP …; BERT; ViT; DistilBERT. */
const FAMILIES = [
  { q: "q_proj", k: "k_proj", v: "v_proj", out: ["o_proj", "out_proj", "dense"] },
  { q: "self.query", k: "self.key", v: "self.value", out: ["output.dense"] },
  { q: "attention.query", k: "attention.key", v: "attention.value", out: ["output.dense"] },
  { q: "query", k: "key", v: "value", out: ["output.dense"] },
  { q: "q_lin", k: "k_lin", v: "v_lin", out: ["out_lin"] },
] as const;

/**
 * The attention of a Hugging Face transformer below `prefix`: q_proj, k_proj, v_proj and o_proj or out_proj, BERT's and ViT's query, key, value
 * and output.dense, DistilBERT's q_lin … out_lin, GPT-2's c_attn and c_proj; with or without biases, and with the sinks of GPT-OSS. How
 * many heads there are, and whether q and k are turned (`rotary`), stands in the model's config, not in its weights.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for norms of q and k
 */
function fromHuggingFace<const N extends number | undefined = undefined>(
  stateDict: StateDict,
  options: ImportOptions<N> = {},
): Imported<N> {
  checkObject("options", options);
  const names = new Names("stateDict", stateDict, options.prefix);
  for (const name of ["q_norm.weight", "k_norm.weight", "q_layernorm.weight", "k_layernorm.weight"]) {
    names.refuse(name, "to be absent, since heed does not normalise q and k");
  }
  const heads = headsOf<N>(options.numHeads);
  if (names.find("c_attn.weight")) return { ...heads, ...fromGpt2(names) };

  const family = FAMILIES.find(({ q }) => names.find(`${q}.weight`)) ?? FAMILIES[0];
  const linear = (what: string, ...all: string[]): LinearWeights => {
    const weight = names.get(...all.map((name) => `${name}.weight`));
    sizesOf(weight, what, undefined, undefined);
    const bias = names.find(...all.map((name) => `${name}.bias`));
    if (bias) sizesOf(bias, "[outFeatures]", weight.shape[0]);
    return { weight, bias };
  };
  const first = FAMILIES.map(({ q }) => q).filter((q) => q !== family.q);
  const q = linear("[numHeads·headDim, embedDim]", family.q, ...first);
  const k = linear("[numKvHeads·headDim, kvDim]", family.k);
  const v = linear("[numKvHeads·headDim, kvDim]", family.v);
  const out = linear("[outDim, numHeads·headDim]", ...family.out);
  const sinks = names.find("sinks");
  const sizes = (of: LinearWeights): readonly number[] => (of.weight as Weight).shape;
  return {
    ...heads,
    embedDim: sizes(q)[1]!,
    kvDim: { k: sizes(k)[1]!, v: sizes(v)[1]! },
    outDim: sizes(out)[0]!,
    ...(sinks && { sinks: sinks.data }),
    weights: { q, k, v, out },
  };
}

/** GPT-2's c_attn is [embedDim, 3·embedDim], q, k and v side by side. */
function fromGpt2(names: Names): Omit<ImportedLayer, "numHeads"> {
  const all = names.get("c_attn.weight");
  const [embedDim] = sizesOf(all, "[embedDim, 3·embedDim]", undefined, undefined) as [number];
  sizesOf(all, "[embedDim, 3·embedDim]", embedDim, 3 * embedDim);
  const bias = names.find("c_attn.bias");
  const out = names.get("c_proj.weight");
  sizesOf(out, "[embedDim, embedDim]", embedDim, embedDim);
  const outWeights = { weight: out, bias: names.find("c_proj.bias"), transposed: true };
  return sideBySide(all, bias, [embedDim, embedDim, embedDim], outWeights);
}

/** q, k and v from one matrix [embedDim, sum of sizes] and one bias. */
function sideBySide(
  all: Named,
  bias: Named | undefined,
  sizes: readonly [number, number, number],
  out: LinearWeights | undefined,
): Omit<ImportedLayer, "numHeads"> {
  const embedDim = all.shape[0]!;
  const total = sizes[0] + sizes[1] + sizes[2];
  sizesOf(all, "[embedDim, q + k + v]", embedDim, total);
  if (bias) sizesOf(bias, "[q + k + v]", total);
  let end = 0;
  const [q, k, v] = sizes.map((size) => {
    const start = end;
    end += size;
    return { weight: columnsOf(all, start, end), bias: bias && rowsOf(bias, start, end), transposed: true };
  }) as [LinearWeights, LinearWeights, LinearWeights];
  return { embedDim, kvDim: { k: embedDim, v: embedDim }, weights: { q, k, v, out } };
}

/**
 * keras.layers.MultiHeadAttention and GroupQueryAttention (https://keras.io/api/layers/attention_layers/multi_head_attention/): kernels
 * query, key and value [inFeatures, heads, dim] and attention_output [heads, dim, outFeatures], biases [heads, dim] and [outFeatures],
 * named as in `query/kernel`, `query.kernel` or `query/kernel:0`. They settle every size.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape
 */
function fromKeras(weights: StateDict, options: { prefix?: string | undefined } = {}): Imported<number> {
  checkObject("options", options);
  const names = new Names("weights", weights, options.prefix, "/.");
  const spellings = (name: string, kind: string): string[] =>
    ["/", "."].flatMap((separator) => [`${name}${separator}${kind}`, `${name}${separator}${kind}:0`]);
  const projection = (name: string): { linear: LinearWeights; heads: number; dim: number; inFeatures: number } => {
    const kernel = names.get(...spellings(name, "kernel"));
    const [inFeatures, heads, dim] = sizesOf(kernel, "[inFeatures, heads, dim]", undefined, undefined, undefined) as [
      number,
      number,
      number,
    ];
    const bias = names.find(...spellings(name, "bias"));
    if (bias) sizesOf(bias, "[heads, dim]", heads, dim);
    const weight = { data: kernel.data, shape: [inFeatures, heads * dim] };
    return { linear: { weight, bias: bias && flat(bias), transposed: true }, heads, dim, inFeatures };
  };
  const [q, k, v] = [projection("query"), projection("key"), projection("value")];
  const keyKernel = names.get(...spellings("key", "kernel"));
  sizesOf(keyKernel, "[inFeatures, heads, dim of query]", undefined, undefined, q.dim);
  sizesOf(names.get(...spellings("value", "kernel")), "[inFeatures, heads of key, dim]", undefined, k.heads, undefined);
  const kernel = names.get(...spellings("attention_output", "kernel"));
  const outDim = sizesOf(kernel, "[heads of query, dim of value, outFeatures]", q.heads, v.dim, undefined)[2]!;
  const bias = names.find(...spellings("attention_output", "bias"));
  if (bias) sizesOf(bias, "[outFeatures]", outDim);
  const weight = { data: kernel.data, shape: [q.heads * v.dim, outDim] };
  return {
    numHeads: q.heads,
    embedDim: q.inFeatures,
    headDim: q.dim,
    numKvHeads: k.heads,
    valueDim: v.dim,
    kvDim: { k: k.inFeatures, v: v.inFeatures },
    outDim,
    weights: { q: q.linear, k: k.linear, v: v.linear, out: { weight, bias, transposed: true } },
  };
}

function flat({ data }: Named): Weight {
  return { data, shape: [data.length] };
}

/** The attributes of com.microsoft.Attention that its weights need, by their own names. */
export interface OnnxAttributes {
  num_heads: number;
  qkv_hidden_sizes?: readonly number[] | undefined;
  scale?: number | undefined;
  unidirectional?: number | undefined;
  do_rotary?: number | undefined;
}

/**
 * com.microsoft.Attention of ONNX Runtime (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md): its inputs `weights`
 * [embedDim, q + k + v] and `bias`. The projection back is a MatMul of its own in such models: give its weight [q, outDim] and bias as
 * `outWeight` and `outBias`, or do without.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for do_rotary
 */
function fromOnnx(
  inputs: { weights: Weight; bias?: Weight | undefined; outWeight?: Weight | undefined; outBias?: Weight | undefined },
  attributes: OnnxAttributes,
): Imported<number> {
  checkObject("attributes", attributes);
  const { num_heads: heads, qkv_hidden_sizes: hidden, scale, unidirectional, do_rotary: rotary } = attributes;
  const names = new Names("inputs", inputs);
  const numHeads = checkInteger("num_heads", heads, 1);
  if (rotary) throw wrongValue("do_rotary", "0; give the layer `rotary` instead", rotary);
  const all = names.get("weights");
  const total = sizesOf(all, "[embedDim, q + k + v]", undefined, undefined)[1]!;
  const sizes = hidden ?? [total / 3, total / 3, total / 3];
  if (!Array.isArray(sizes)) throw wrongKind("qkv_hidden_sizes", "an array of 3 integers", sizes);
  if (sizes.length !== 3) throw wrongValue("qkv_hidden_sizes", "3 integers", sizes.length);
  for (const [i, size] of sizes.entries()) {
    if (!Number.isInteger(size) || size < numHeads || size % numHeads !== 0) {
      const title = hidden ? `qkv_hidden_sizes[${i}]` : "weights.shape[1]";
      throw wrongValue(title, `a multiple of ${hidden ? numHeads : 3 * numHeads} (num_heads)`, hidden ? size : total);
    }
  }
  const [q, k, v] = sizes as unknown as [number, number, number];
  if (k !== q) throw wrongValue("qkv_hidden_sizes[1]", `${q} (that of q)`, k);
  const outWeight = names.find("outWeight");
  if (outWeight) sizesOf(outWeight, "[v, outDim]", v, undefined);
  const out = outWeight && { weight: outWeight, bias: names.find("outBias"), transposed: true };
  return {
    numHeads,
    ...sideBySide(all, names.find("bias"), [q, k, v], out),
    headDim: q / numHeads,
    numKvHeads: numHeads,
    valueDim: v / numHeads,
    ...(scale && { scale }),
    ...(unidirectional && { causal: true }),
  };
}

/** The layer that `heed.createMultiHeadAttention` makes. */
export type MultiHeadAttention = Layer;

/** Options for `heed.createMultiHeadAttention` from the weights of other libraries. */
export const MultiHeadAttention = { fromTorch, fromHuggingFace, fromKeras, fromOnnx };
