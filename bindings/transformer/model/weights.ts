import type { Weight, WeightDtype } from "../../layer/linear-weights.ts";
import type { PackedLinear } from "../../layer/packed-linear.ts";
import type { Tensor } from "../../memory/tensor.ts";
import type { Heed } from "../../heed.ts";
import type { Spec } from "./spec.ts";
import { ANY, type Floats, Parts, type Taken, features, joined, toF32 } from "./tensors.ts";

/** A norm: weight and bias. */
export interface Norm {
  weight: Tensor;
  bias: Tensor | undefined;
}

export interface LayerWeights {
  q: PackedLinear;
  k: PackedLinear;
  v: PackedLinear;
  o: PackedLinear;
  qNorm: Norm | undefined;
  kNorm: Norm | undefined;
  /** With a gate the gate first, then what it weighs. */
  up: PackedLinear;
  down: PackedLinear;
  attentionNorm: Norm | undefined;
  postAttentionNorm: Norm | undefined;
  ffnNorm: Norm;
  postFfnNorm: Norm | undefined;
}

/** The weights of a model in linear memory; the tables of the words and positions outside of it. */
export interface Weights {
  word: Floats;
  position: Float32Array | undefined;
  type: Float32Array | undefined;
  embedNorm: Norm | undefined;
  finalNorm: Norm | undefined;
  layers: LayerWeights[];
  /** Back to the words. */
  lmHead: PackedLinear | undefined;
  classifier: { dense: PackedLinear | undefined; norm: Norm | undefined; out: PackedLinear } | undefined;
}

/** Weights of which some are still to come. */
export type OpenWeights = Partial<Omit<Weights, "layers">> & { layers: Partial<LayerWeights>[] };

/** Everything in linear memory that a model has made, for `dispose`. */
export type Owned = { dispose(): void }[];

/**
 * What a model of `spec` waits for. `weights` fills as its tensors come.
 *
 * @param owned gets what is made in linear memory
 */
export function openWeights(
  heed: Heed,
  spec: Spec,
  dtype: WeightDtype | undefined,
  owned: Owned,
): { parts: Parts; weights: OpenWeights } {
  const { family, hiddenSize, numHeads, numKvHeads, headDim, ffnSize, biases } = spec;
  const { names, transposed } = family;
  const parts = new Parts();
  const weights: OpenWeights = { layers: spec.layers.map(() => ({})) };

  const own = <T extends { dispose(): void }>(made: T): T => {
    owned.push(made);
    return made;
  };
  const tensor = (floats: Floats): Tensor => {
    const made = own(heed.tensor(floats.data.length));
    made.data.set(toF32(floats));
    return made;
  };
  const pack = (weight: Floats, bias: Floats | undefined, isTransposed = transposed): PackedLinear =>
    own(
      heed.packLinear(weightOf(weight), bias && toF32(bias), {
        transposed: isTransposed,
        dtype,
      }),
    );
  const shaped = (outFeatures: number, inFeatures: number, isTransposed = transposed): readonly number[] =>
    isTransposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures];

  const linear = (name: string, out: number, into: number, bias: boolean, use: (made: PackedLinear) => void): void =>
    parts.add(
      { weight: [`${name}.weight`, shaped(out, into)], bias: bias ? [`${name}.bias`, [out]] : undefined },
      ({ weight, bias }) => use(pack(weight!, bias)),
    );
  const normNames = (name: string, dim: number) => ({
    weight: [`${name}.weight`, [dim]] as const,
    bias: biases.norm ? ([`${name}.bias`, [dim]] as const) : undefined,
  });
  const normOf = ({ weight, bias }: Taken<"weight" | "bias">): Norm => ({
    weight: tensor(weight!),
    bias: bias && tensor(bias),
  });
  const norm = (name: string | undefined, dim: number, use: (made: Norm) => void): void => {
    if (name !== undefined) parts.add(normNames(name, dim), (taken) => use(normOf(taken)));
  };

  parts.add({ word: [`${names.word}.weight`, [spec.vocabSize, hiddenSize]] }, ({ word }) => {
    // A copy: a view would keep the whole file in memory.
    weights.word = { ...word!, data: word!.data.slice() };
    if (names.lmHead !== undefined && spec.tied) weights.lmHead = pack(word!, undefined, false);
  });
  const table = (role: "position" | "type", rows: number): void => {
    const name = names[role];
    if (name === undefined || rows === 0) return;
    parts.add(
      { table: [`${name}.weight`, [rows, hiddenSize]] },
      ({ table }) => (weights[role] = toF32(table!).slice()),
    );
  };
  table("position", spec.positions);
  table("type", spec.types);
  norm(names.embedNorm, hiddenSize, (made) => (weights.embedNorm = made));
  norm(names.finalNorm, hiddenSize, (made) => (weights.finalNorm = made));
  if (names.lmHead !== undefined && !spec.tied) {
    parts.add(
      { weight: [`${names.lmHead}.weight`, [spec.vocabSize, hiddenSize]] },
      ({ weight }) => (weights.lmHead = pack(weight!, undefined, false)),
      "weight",
    );
  }
  if (names.classifier !== undefined) {
    const { dense, denseNorm, classifier } = names;
    // The heads of Llama and GPT-2 that classify have no bias, those of BERT always.
    const bias = family.isCausal ? undefined : ([`${classifier}.bias`, [ANY]] as const);
    const denseBias = biases.head ? ([`${dense!}.bias`, [hiddenSize]] as const) : undefined;
    parts.add(
      {
        weight: [`${classifier}.weight`, [ANY, hiddenSize]],
        bias,
        dense: dense === undefined ? undefined : [`${dense}.weight`, [hiddenSize, hiddenSize]],
        denseBias: dense === undefined ? undefined : denseBias,
        norm: denseNorm === undefined ? undefined : [`${denseNorm}.weight`, [hiddenSize]],
      },
      (taken) => {
        weights.classifier = {
          dense: taken.dense && pack(taken.dense, taken.denseBias, false),
          norm: taken.norm && normOf({ weight: taken.norm }),
          out: pack(taken.weight!, taken.bias, false),
        };
      },
      "weight",
    );
  }

  spec.layers.forEach((_, layer) => {
    const to = weights.layers[layer]!;
    const named = (name: string): string => name.replace("{}", String(layer));
    const [qSize, kSize] = [numHeads * headDim, numKvHeads * headDim];
    const { qkv, up } = names;
    if (qkv.length === 1) {
      const [name, size] = [named(qkv[0]), qSize + 2 * kSize];
      parts.add(
        {
          weight: [`${name}.weight`, shaped(size, hiddenSize)],
          bias: biases.qkv ? [`${name}.bias`, [size]] : undefined,
        },
        ({ weight, bias }) => {
          let from = 0;
          const next = (count: number): PackedLinear => {
            const part = (of: Floats): Floats => features(of, from, count, transposed);
            const made = pack(part(weight!), bias && part(bias));
            from += count;
            return made;
          };
          to.q = next(qSize);
          to.k = next(kSize);
          to.v = next(kSize);
        },
      );
    } else {
      const [q, k, v] = qkv.map(named) as [string, string, string];
      linear(q, qSize, hiddenSize, biases.qkv, (made) => (to.q = made));
      linear(k, kSize, hiddenSize, biases.qkv, (made) => (to.k = made));
      linear(v, kSize, hiddenSize, biases.qkv, (made) => (to.v = made));
    }
    linear(named(names.o), hiddenSize, qSize, biases.o, (made) => (to.o = made));
    linear(named(names.down), hiddenSize, ffnSize, biases.ffn, (made) => (to.down = made));
    if (up.length === 1) {
      linear(named(up[0]), family.isGated ? 2 * ffnSize : ffnSize, hiddenSize, biases.ffn, (made) => (to.up = made));
    } else {
      const [gate, other] = up.map(named) as [string, string];
      const bias = (name: string) => (biases.ffn ? ([`${name}.bias`, [ffnSize]] as const) : undefined);
      parts.add(
        {
          gate: [`${gate}.weight`, shaped(ffnSize, hiddenSize)],
          up: [`${other}.weight`, shaped(ffnSize, hiddenSize)],
          gateBias: bias(gate),
          upBias: bias(other),
        },
        (taken) => {
          const { gateBias, upBias } = taken;
          to.up = pack(joined(taken.gate!, taken.up!), gateBias && upBias && joined(gateBias, upBias));
        },
      );
    }
    norm(names.qNorm && named(names.qNorm), headDim, (made) => (to.qNorm = made));
    norm(names.kNorm && named(names.kNorm), headDim, (made) => (to.kNorm = made));
    const [before, behind] = names.attentionNorm;
    if (!(layer === 0 && family.skipsFirstNorm)) norm(named(before), hiddenSize, (made) => (to.attentionNorm = made));
    if (behind !== undefined) norm(named(behind), hiddenSize, (made) => (to.postAttentionNorm = made));
    const [beforeFfn, behindFfn] = names.ffnNorm;
    norm(named(beforeFfn), hiddenSize, (made) => (to.ffnNorm = made));
    if (behindFfn !== undefined) norm(named(behindFfn), hiddenSize, (made) => (to.postFfnNorm = made));
  });
  return { parts, weights };
}

/** A weight as `packLinear` takes it: what has 16 bits stays as it is. */
function weightOf({ data, shape, dtype }: Floats): Weight {
  return data instanceof Float32Array ? { data, shape } : { data, shape, dtype: dtype as "f16" | "bf16" };
}
