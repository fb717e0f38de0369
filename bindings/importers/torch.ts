import { checkBoolean, wrongValue } from "../check.ts";
import { readOptions } from "../options.ts";
import {
  type ImportOptions,
  type Imported,
  type Sizes,
  fusedOf,
  headsOf,
  layerOf,
  projectionOf,
  withBiases,
} from "./imported.ts";
import { NamedTensors, type StateDict, sized } from "./state-dict.ts";

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
  // q, k and v stand apart where kdim or vdim differs from embedDim.
  const packed = tensors.find("in_proj_weight");
  const first = packed ?? tensors.get("q_proj_weight", "in_proj_weight");
  const embedDim = first.shape[1]!;
  const thirds: Sizes = [embedDim, embedDim, embedDim];
  const bias = tensors.find("in_proj_bias");
  const projections = packed
    ? fusedOf(packed, bias, thirds)
    : withBiases(
        [
          sized(first, "[embedDim, embedDim]", embedDim, embedDim),
          sized(tensors.get("k_proj_weight"), "[embedDim, kdim]", embedDim, undefined),
          sized(tensors.get("v_proj_weight"), "[embedDim, vdim]", embedDim, undefined),
        ],
        bias,
        thirds,
      );
  const out = projectionOf(tensors, ["out_proj"], "[embedDim, embedDim]", [embedDim, embedDim]);
  tensors.refuseOthers();
  return { ...heads, ...layerOf(projections, out) };
}
