// The functions beside those of an instance's own methods: loading, the importers, heed/onnx, and what layers have.
import { readFileSync } from "node:fs";
import { importers, relativePositionBias } from "../../bindings/importers/index.ts";
import { loadSyncFrom } from "../../bindings/load.ts";
import { rotaryFrequencies } from "../../bindings/rotary/frequencies.ts";
import {
  onnxAttention,
  onnxGroupQueryAttention,
  onnxMultiHeadAttention,
  onnxRotaryEmbedding,
} from "../../bindings/onnx/index.ts";
import type { FloatDtype } from "../../bindings/memory/float-types.ts";
import { halvesOf } from "../support/halves.ts";
import { type Maker, type Options, type Sizes, maybe, weightsOf } from "./parts.ts";
import { type Draw, type Given, type World, bytes, chance, integer, list, literal, object, pick } from "./values.ts";

const simd = readFileSync(new URL("../dist/simd.wasm", import.meta.url));

/** Floats from 0 to 1 as a tensor of `shape`. */
function tensor(draw: Draw, shape: readonly number[], dtype: FloatDtype = "f32"): Given {
  const length = shape.reduce((all, size) => all * size, 1);
  const floats = Float32Array.from({ length }, (_, i) => ((i * 37) % 11) / 11);
  const value = dtype === "f32" ? floats : halvesOf(floats, dtype).data;
  const data = { value, text: `${dtype}(${length})` };
  const entries: Options = { data, shape: list(shape.map(literal)) };
  if (dtype !== "f32") entries["dtype"] = literal(dtype);
  if (chance(draw, 8)) entries["name"] = literal("x");
  return object(entries);
}

/** Makes tensors of one type, now and then of another. */
function tensorsOf(draw: Draw): (shape: readonly number[]) => Given {
  const dtype = pick(draw, ["f32", "f32", "f16", "bf16"] as const);
  return (shape) => tensor(draw, shape, chance(draw, 20) ? "f16" : dtype);
}

/** Integers of 32 or 64 bits as a tensor. */
function wholes(draw: Draw, values: readonly number[], shape: readonly number[]): Given {
  const data = chance(draw, 2)
    ? { value: Int32Array.from(values), text: `Int32Array[${values.join()}]` }
    : { value: BigInt64Array.from(values, BigInt), text: `BigInt64Array[${values.join()}]` };
  return object({ data, shape: list(shape.map(literal)) });
}

const flag = (draw: Draw): Given => literal(pick(draw, [0, 1, 0n, 1n]));
const empty = (draw: Draw, s: Sizes): Sizes => (chance(draw, 6) ? { ...s, batch: 0 } : s);

type Operator = (heed: never, inputs: never, attributes: never) => object;

/** Calls an operator and reads all of its outputs, which are made when they are read. */
const operator =
  ({ heed }: World, call: Operator) =>
  (inputs: unknown, attributes: unknown): unknown => {
    const outputs = call(heed as never, inputs as never, attributes as never);
    return Object.fromEntries(
      Object.keys(outputs).map((name) => [name, (outputs as Record<string, { data: unknown }>)[name]!.data]),
    );
  };

export const OTHER_MAKERS: Record<string, Maker> = {
  loadSync: (draw) => {
    const options: Options = { module: { value: simd, text: "the bytes of simd.wasm" } };
    maybe(draw, options, 2, "variant", () => literal("simd"));
    maybe(draw, options, 2, "maxMemory", () => literal(2 ** integer(draw, 18, 22)));
    const host = { source: () => new Uint8Array(simd), maxMemory: 2 ** 20 };
    return { given: [object(options)], run: (given) => loadSyncFrom(host, given as object) };
  },
  setWeights: (draw, world) => {
    const square: [number, number] = [4, 4];
    const layer = world.heed.createMultiHeadAttention({ numHeads: 2, embedDim: 4 });
    const dispose = () => {
      layer.dispose();
    };
    return {
      given: [weightsOf(draw, world, { q: square, k: square, v: square, out: square })],
      run: (weights) => {
        layer.setWeights(weights as never);
      },
      dispose,
    };
  },
  createCache: (draw, world) => {
    const layer = world.heed.createMultiHeadAttention({ numHeads: 2, embedDim: 4, window: { left: 3 }, causal: true });
    const options: Options = { capacity: literal(integer(draw, 0, 9)) };
    maybe(draw, options, 2, "window", () => literal(integer(draw, 0, 9)));
    maybe(draw, options, 2, "batch", () => literal(integer(draw, 1, 3)));
    const dispose = () => {
      layer.dispose();
    };
    return { given: [object(options)], run: (given) => layer.createCache(given as never), dispose };
  },
  rotaryFrequencies: (draw) => {
    const scaling: Options = {
      rope_type: literal(
        pick(draw, ["default", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "proportional", "ntk"]),
      ),
      factor: literal(integer(draw, 1, 9)),
      original_max_position_embeddings: literal(integer(draw, 2, 9999)),
      low_freq_factor: literal(1),
      high_freq_factor: literal(4),
      short_factor: list([1, 2].map(literal)),
      long_factor: list([3, 4].map(literal)),
    };
    maybe(draw, scaling, 3, "attention_factor", () => literal(1.5));
    maybe(draw, scaling, 3, "beta_fast", () => literal(integer(draw, 1, 40)));
    maybe(draw, scaling, 3, "truncate", () => literal(chance(draw, 2)));
    maybe(draw, scaling, 3, "mrope_section", () => list([1, 1].map(literal)));
    const config: Options = { head_dim: literal(4), max_position_embeddings: literal(integer(draw, 2, 99999)) };
    maybe(draw, config, 2, "rope_theta", () => literal(pick(draw, [1, 10000, 5e5])));
    config[pick(draw, ["rope_scaling", "rope_parameters"])] = object(scaling);
    const options: Options = {};
    maybe(draw, options, 2, "seqLen", () => literal(integer(draw, 0, 99999)));
    maybe(draw, options, 6, "layerType", () => literal("full_attention"));
    const run = (given: unknown, more: unknown) => rotaryFrequencies(given as never, more as never);
    return { given: [object(config), object(options)], run };
  },
  fromHuggingFace: (draw) => {
    const entries: Options = chance(draw, 2)
      ? {
          "a.q_proj.weight": tensor(draw, [4, 6]),
          "a.k_proj.weight": tensor(draw, [4, 6]),
          "a.v_proj.weight": tensor(draw, [4, 6]),
          "a.o_proj.weight": tensor(draw, [6, 4]),
        }
      : {
          "a.query_key_value.weight": tensor(draw, [pick(draw, [8, 12]), 6]),
          "a.dense.weight": tensor(draw, [6, 4]),
        };
    maybe(draw, entries, 3, "a.q_proj.bias", () => tensor(draw, [4]));
    maybe(draw, entries, 3, "b.q_norm.weight", () => tensor(draw, [4]));
    const options: Options = { prefix: literal("a") };
    maybe(draw, options, 2, "numHeads", () => literal(2));
    maybe(draw, options, 3, "qkvOrder", () => literal(pick(draw, ["whole", "grouped"])));
    maybe(draw, options, 3, "ignore", () => list([literal("q_proj.bias")]));
    const run = (dict: unknown, given: unknown) => importers.fromHuggingFace(dict as never, given as never);
    return { given: [object(entries), object(options)], run };
  },
  relativePositionBias: (draw) => {
    const options: Options = { seqLenQ: literal(integer(draw, 0, 9)) };
    maybe(draw, options, 2, "seqLenKv", () => literal(integer(draw, 0, 20)));
    maybe(draw, options, 3, "queryOffset", () => literal(integer(draw, -200, 200)));
    maybe(draw, options, 2, "causal", () => literal(chance(draw, 2)));
    maybe(draw, options, 3, "maxDistance", () => literal(integer(draw, 1, 200)));
    const run = (weight: unknown, given: unknown) => relativePositionBias(weight as never, given as never);
    return { given: [tensor(draw, [integer(draw, 2, 9), 2]), object(options)], run };
  },
  fromTorch: (draw) => ({
    given: [
      object({ in_proj_weight: tensor(draw, [12, 4]), "out_proj.weight": tensor(draw, [4, 4]) }),
      object({ numHeads: literal(2) }),
    ],
    run: (dict, given) => importers.fromTorch(dict as never, given as never),
  }),
  fromKeras: (draw) => {
    const one = () => tensor(draw, [4, 2, 2]);
    const out = tensor(draw, [2, 2, 4]);
    const entries = {
      "query/kernel": one(),
      "key/kernel": one(),
      "value/kernel": one(),
      "attention_output/kernel": out,
    };
    const run = (dict: unknown, given: unknown) => importers.fromKeras(dict as never, given as never);
    return { given: [object(entries), object({})], run };
  },
  fromOnnx: (draw) => ({
    given: [object({ weights: tensor(draw, [4, 12]), bias: tensor(draw, [12]) }), object({ num_heads: literal(2) })],
    run: (dict, given) => importers.fromOnnx(dict as never, given as never),
  }),
  onnxAttention: (draw, world, plain) => {
    const s = empty(draw, plain);
    const of = tensorsOf(draw);
    const heads = s.numKvHeads * s.group;
    const inputs: Options = {
      Q: of([s.batch, heads, s.rowsQ, s.headDim]),
      K: of([s.batch, s.numKvHeads, s.rowsKv, s.headDim]),
      V: of([s.batch, s.numKvHeads, s.rowsKv, s.valueDim]),
    };
    maybe(draw, inputs, 3, "attn_mask", () =>
      chance(draw, 2)
        ? of([s.rowsQ, s.rowsKv])
        : object({ data: bytes(draw, s.rowsQ * s.rowsKv), shape: list([literal(s.rowsQ), literal(s.rowsKv)]) }),
    );
    maybe(draw, inputs, 3, "nonpad_kv_seqlen", () =>
      wholes(
        draw,
        Array.from({ length: s.batch }, () => integer(draw, 0, s.rowsKv)),
        [s.batch],
      ),
    );
    const attributes: Options = {};
    maybe(draw, attributes, 2, "is_causal", () => flag(draw));
    maybe(draw, attributes, 4, "softcap", () => literal(pick(draw, [0, 1.5])));
    maybe(draw, attributes, 3, "qk_matmul_output_mode", () => literal(integer(draw, 0, 3)));
    return { given: [object(inputs), object(attributes)], run: operator(world, onnxAttention) };
  },
  onnxMultiHeadAttention: (draw, world, plain) => {
    const s = empty(draw, plain);
    const of = tensorsOf(draw);
    const hidden = 2 * s.headDim;
    const inputs: Options = {
      query: of([s.batch, s.rowsQ, hidden]),
      key: of([s.batch, s.rowsKv, hidden]),
      value: of([s.batch, s.rowsKv, hidden]),
    };
    maybe(draw, inputs, 3, "bias", () => of([3 * hidden]));
    maybe(draw, inputs, 3, "key_padding_mask", () =>
      wholes(
        draw,
        Array.from({ length: s.batch }, () => integer(draw, 0, s.rowsKv)),
        [s.batch],
      ),
    );
    const attributes: Options = { num_heads: literal(pick(draw, [2, 2n])) };
    maybe(draw, attributes, 3, "unidirectional", () => flag(draw));
    return { given: [object(inputs), object(attributes)], run: operator(world, onnxMultiHeadAttention) };
  },
  onnxGroupQueryAttention: (draw, world, plain) => {
    const s = empty(draw, plain);
    const of = tensorsOf(draw);
    const [heads, past, length] = [s.numKvHeads * s.group, integer(draw, 0, 3), Math.max(1, s.rowsQ)];
    const inputs: Options = {
      query: of([s.batch, length, heads * s.headDim]),
      key: of([s.batch, length, s.numKvHeads * s.headDim]),
      value: of([s.batch, length, s.numKvHeads * s.headDim]),
      past_key: of([s.batch, s.numKvHeads, past, s.headDim]),
      past_value: of([s.batch, s.numKvHeads, past, s.headDim]),
      seqlens_k: wholes(
        draw,
        Array.from({ length: s.batch }, () => past + length - 1),
        [s.batch],
      ),
      total_sequence_length: wholes(draw, [past + length], []),
    };
    const attributes: Options = { num_heads: literal(heads), kv_num_heads: literal(s.numKvHeads) };
    maybe(draw, attributes, 4, "local_window_size", () => literal(integer(draw, 1, 4)));
    maybe(draw, attributes, 4, "smooth_softmax", () => flag(draw));
    return { given: [object(inputs), object(attributes)], run: operator(world, onnxGroupQueryAttention) };
  },
  onnxRotaryEmbedding: (draw, world, plain) => {
    const s = empty(draw, plain);
    const of = tensorsOf(draw);
    const inputs: Options = {
      X: of([s.batch, 2, s.rowsQ, 4]),
      cos_cache: of([20, 2]),
      sin_cache: of([20, 2]),
      position_ids: wholes(
        draw,
        Array.from({ length: s.batch * s.rowsQ }, () => integer(draw, 0, 19)),
        [s.batch, s.rowsQ],
      ),
    };
    const attributes: Options = {};
    maybe(draw, attributes, 2, "interleaved", () => flag(draw));
    return { given: [object(inputs), object(attributes)], run: operator(world, onnxRotaryEmbedding) };
  },
};
