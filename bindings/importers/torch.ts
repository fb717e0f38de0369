import { checkBoolean, wrongValue } from "../check.ts";
import type { Weight } from "../layer/linear-weights.ts";
import { readOptions } from "../options.ts";
import { type ImportOptions, type Imported, headsOf } from "./imported.ts";
import { NamedTensors, type StateDict, checkSizes, rowsOf } from "./state-dict.ts";

/** What `fromTorch` takes besides the state dict. @category Importers */
export interface TorchOptions<N extends number | undefined = number | undefined> extends ImportOptions<N> {
  /** As the module was made. True is refused, because heed adds no key of zeros. */
  add_zero_attn?: boolean | undefined;
}

/**
 * The layer of torch.nn.MultiheadAttention
 * (https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html): reads `in_proj_weight`, or
 * `q_proj_weight`, `k_proj_weight` and `v_proj_weight`; `in_proj_bias`; `out_proj`. Its masks are True where a key is
 * masked: give them as `dropMask`. Any other tensor below the prefix is refused.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape, for a tensor that
 * heed's attention does not have, such as bias_k, and for add_zero_attn
 * @example
 * import { MultiHeadAttention, load } from "heed";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const stateDict = { "attn.in_proj_weight": tensor(24, 8), "attn.out_proj.weight": tensor(8, 8) };
 * const options = MultiHeadAttention.fromTorch(stateDict, { prefix: "attn", numHeads: 2 });
 * const layer = heed.createMultiHeadAttention({ ...options, causal: true });
 * console.log(layer.embedDim, layer.headDim); // → 8 4
 */
export function fromTorch<const N extends number | undefined = undefined>(
  stateDict: StateDict,
  options: TorchOptions<N> = {},
): Imported<N> {
  const { prefix, numHeads, add_zero_attn } = readOptions<TorchOptions<N>>("fromTorch", options, {
    prefix: 0,
    numHeads: 0,
    add_zero_attn: 0,
  });
  const heads = headsOf<N>(numHeads);
  if (add_zero_attn !== undefined && checkBoolean("add_zero_attn", add_zero_attn)) {
    throw wrongValue("add_zero_attn", "false, since heed adds no key of zeros", true);
  }
  const tensors = new NamedTensors("stateDict", stateDict, prefix, (name) => name === "__metadata__");
  const { q, k, v, embedDim } = projections(tensors);
  const bias = tensors.find("in_proj_bias");
  if (bias) checkSizes(bias, "[3·embedDim]", 3 * embedDim);
  const biasOf = (n: number): Weight | undefined => bias && rowsOf(bias, n * embedDim, (n + 1) * embedDim);
  const out = tensors.get("out_proj.weight");
  checkSizes(out, "[embedDim, embedDim]", embedDim, embedDim);
  const outBias = tensors.find("out_proj.bias");
  if (outBias) checkSizes(outBias, "[embedDim]", embedDim);
  tensors.refuseOthers();
  return {
    ...heads,
    embedDim,
    kvDim: { k: k.shape[1]!, v: v.shape[1]! },
    weights: {
      q: { weight: q, bias: biasOf(0) },
      k: { weight: k, bias: biasOf(1) },
      v: { weight: v, bias: biasOf(2) },
      out: { weight: out, bias: outBias },
    },
  };
}

/**
 * The weights of q, k and v: the three thirds of `in_proj_weight`, or a tensor each where kdim or vdim differs from
 * embedDim.
 */
function projections(tensors: NamedTensors): { q: Weight; k: Weight; v: Weight; embedDim: number } {
  const packed = tensors.find("in_proj_weight");
  if (packed) {
    const [, embedDim] = checkSizes(packed, "[3·embedDim, embedDim]", undefined, undefined) as [number, number];
    checkSizes(packed, "[3·embedDim, embedDim]", 3 * embedDim, embedDim);
    const third = (n: number): Weight => rowsOf(packed, n * embedDim, (n + 1) * embedDim);
    return { q: third(0), k: third(1), v: third(2), embedDim };
  }
  const q = tensors.get("q_proj_weight", "in_proj_weight");
  const [, embedDim] = checkSizes(q, "[embedDim, embedDim]", undefined, undefined) as [number, number];
  checkSizes(q, "[embedDim, embedDim]", embedDim, embedDim);
  const [k, v] = [tensors.get("k_proj_weight"), tensors.get("v_proj_weight")];
  checkSizes(k, "[embedDim, kdim]", embedDim, undefined);
  checkSizes(v, "[embedDim, vdim]", embedDim, undefined);
  return { q, k, v, embedDim };
}
