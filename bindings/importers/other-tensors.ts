// What stands in checkpoints beside the weights and biases of q, k, v and out, by the names that libraries give it.

/** What heed's attention does not have, and what its tensors are called. The first entry that fits counts. */
const UNKNOWN_TO_HEED: readonly (readonly [kind: string, names: RegExp])[] = [
  ["adapters: merge them into the weights", /lora|ia3_|hada_|oft_|base_layer|adapter/i],
  ["learned scale", /logit_scale|temperature/],
  ["quantised weights", /qweight|qzeros|zero_?point|g_idx|scales|_scale|absmax|quant|SCB|_packed/],
  ["learned keys (add_bias_kv)", /^bias_[kv]$/],
  ["norm of q and k", /(^|[._/])(q|k|qk|query|key)_?(proj_?)?(layer)?_?(norm|ln)|norm(_added)?_[qk]\b/],
  ["norm before the projection back", /norm|ln\b/i],
  ["gates", /gat/],
  ["learned positions: make a bias of them for forward", /(^|[._/])(rel|pos)|_rel|_pos|distance|alibi/],
];

/** What a tensor is that heed's attention does not have; undefined where its name does not say it. */
export function kindOf(name: string): string | undefined {
  return UNKNOWN_TO_HEED.find(([, names]) => names.test(name))?.[0];
}

/** The end of an error: what a tensor may be, by its name; "" where that does not say it. */
export function likenessOf(name: string): string {
  if (/query_key_value|qkv|pack|in_proj|c_attn|key_value/i.test(name)) return " (fused q, k and v: split it)";
  const role = /(^|[._])(w|to_|linear_)?(q|k|v)(uery|ey|alue)?(_proj)?\./.exec(name)?.[3];
  return role ? ` (resembles ${role})` : "";
}
