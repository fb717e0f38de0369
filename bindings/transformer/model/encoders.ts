// Models in which every token sees every other: what their tensors are called, and what their configs say.
// The source of each is its modeling file in https://github.com/huggingface/transformers/tree/main/src/transformers/models.

import { wrongValue } from "../../check.ts";
import { type Fields, activationOf } from "./fields.ts";
import { layersOf, sizesOf } from "./sizes.ts";
import type { Family, Spec, TensorNames } from "./spec.ts";

const BERT_NAMES: TensorNames = {
  word: "embeddings.word_embeddings",
  position: "embeddings.position_embeddings",
  type: "embeddings.token_type_embeddings",
  embedNorm: "embeddings.LayerNorm",
  qkv: ["query", "key", "value"].map((name) => `encoder.layer.{}.attention.self.${name}`) as [string, string, string],
  o: "encoder.layer.{}.attention.output.dense",
  attentionNorm: ["encoder.layer.{}.attention.output.LayerNorm"],
  up: ["encoder.layer.{}.intermediate.dense"],
  down: "encoder.layer.{}.output.dense",
  ffnNorm: ["encoder.layer.{}.output.LayerNorm"],
  dense: "pooler.dense",
  classifier: "classifier",
};

const BERT: Family = {
  isCausal: false,
  order: "post",
  norm: "layer",
  normOffset: 0,
  isGated: false,
  transposed: false,
  denseActivation: "tanh",
  prefixes: ["bert."],
  names: BERT_NAMES,
  ignored: /^(embeddings\.position_ids|cls\..*|qa_outputs\..*)$/,
  read: (fields) => readBert(fields, 0),
};

function readBert(fields: Fields, firstPosition: number): Omit<Spec, "type" | "family"> {
  fields.only("position_embedding_type", "absolute");
  const positions = fields.size("max_position_embeddings", 512);
  return {
    ...sizesOf(fields),
    activation: activationOf(fields, ["hidden_act"], false, "gelu"),
    eps: fields.number("layer_norm_eps", 1e-12, 0),
    positions,
    types: fields.size("type_vocab_size", 2, 0),
    firstPosition,
    maxLength: positions - firstPosition,
    biases: { qkv: true, o: true, ffn: true, norm: true, head: true },
    layers: layersOf(fields, () => ({ window: undefined, rotary: undefined })),
  };
}

const ROBERTA: Family = {
  ...BERT,
  prefixes: ["roberta."],
  names: { ...BERT_NAMES, dense: "classifier.dense", classifier: "classifier.out_proj" },
  ignored: /^(embeddings\.position_ids|lm_head\..*|qa_outputs\..*|pooler\..*)$/,
  // Positions are counted from behind the row of the padding.
  read: (fields) => readBert(fields, fields.size("pad_token_id", 1, 0) + 1),
};

const DISTILBERT: Family = {
  ...BERT,
  denseActivation: "relu",
  prefixes: ["distilbert."],
  names: {
    word: "embeddings.word_embeddings",
    position: "embeddings.position_embeddings",
    embedNorm: "embeddings.LayerNorm",
    qkv: ["q", "k", "v"].map((name) => `transformer.layer.{}.attention.${name}_lin`) as [string, string, string],
    o: "transformer.layer.{}.attention.out_lin",
    attentionNorm: ["transformer.layer.{}.sa_layer_norm"],
    up: ["transformer.layer.{}.ffn.lin1"],
    down: "transformer.layer.{}.ffn.lin2",
    ffnNorm: ["transformer.layer.{}.output_layer_norm"],
    dense: "pre_classifier",
    classifier: "classifier",
  },
  ignored: /^(embeddings\.position_ids|vocab_(transform|layer_norm|projector)\..*|qa_outputs\..*)$/,
  read: (fields) => ({
    ...readBert(fields, 0),
    activation: activationOf(fields, ["activation"], false, "gelu"),
    eps: 1e-12,
    types: 0,
  }),
};

const MODERNBERT: Family = {
  isCausal: false,
  order: "pre",
  norm: "layer",
  normOffset: 0,
  isGated: true,
  transposed: false,
  denseActivation: "gelu",
  skipsFirstNorm: true,
  prefixes: ["model."],
  names: {
    word: "embeddings.tok_embeddings",
    embedNorm: "embeddings.norm",
    finalNorm: "final_norm",
    qkv: ["layers.{}.attn.Wqkv"],
    o: "layers.{}.attn.Wo",
    attentionNorm: ["layers.{}.attn_norm"],
    up: ["layers.{}.mlp.Wi"],
    down: "layers.{}.mlp.Wo",
    ffnNorm: ["layers.{}.mlp_norm"],
    dense: "head.dense",
    denseNorm: "head.norm",
    classifier: "classifier",
  },
  // The head of the masked language model has the dense part and the norm of the one that classifies.
  ignored: /^decoder\..*$/,
  read: (fields) => {
    fields.only("classifier_activation", "gelu");
    const sizes = sizesOf(fields);
    const left = fields.size("local_attention", 128) >> 1;
    const every = fields.size("global_attn_every_n_layers", 3);
    const pooling = fields.get("classifier_pooling") ?? "cls";
    if (pooling !== "cls" && pooling !== "mean") {
      throw wrongValue("config.classifier_pooling", '"cls" or "mean"', pooling);
    }
    const [whole, near] = ["full_attention", "sliding_attention"].map((layerType, n) =>
      fields.get("rope_parameters") === undefined
        ? fields.plainRotary(
            sizes.headDim,
            fields.number(n === 0 ? "global_rope_theta" : "local_rope_theta", n === 0 ? 160000 : 10000),
          )
        : fields.rotary({ headDim: sizes.headDim, layerType }),
    );
    return {
      ...sizes,
      activation: activationOf(fields, ["hidden_activation"], true, "gelu"),
      eps: fields.number("norm_eps", 1e-5, 0),
      maxLength: fields.size("max_position_embeddings", 8192),
      biases: {
        qkv: fields.boolean("attention_bias", false),
        o: fields.boolean("attention_bias", false),
        ffn: fields.boolean("mlp_bias", false),
        norm: fields.boolean("norm_bias", false),
        head: fields.boolean("classifier_bias", false),
      },
      pooling,
      layers: layersOf(fields, (layer) => {
        const isWhole = layer % every === 0;
        return { window: isWhole ? undefined : { left, right: left }, rotary: isWhole ? whole : near };
      }),
    };
  },
};

/** By `model_type`. */
export const ENCODERS: Readonly<Record<string, Family>> = {
  bert: BERT,
  roberta: ROBERTA,
  "xlm-roberta": ROBERTA,
  distilbert: DISTILBERT,
  modernbert: MODERNBERT,
};
