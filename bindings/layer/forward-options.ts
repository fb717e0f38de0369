import { CHOICE_NAMES, type WeightsOptions, type WeightsResult } from "../attention-weights/options.ts";
import type { AttentionResult } from "../attention/attention.ts";
import { ATTENTION_NAMES, type AttentionOptions } from "../attention/options.ts";
import type { KvCache } from "../kv-cache/kv-cache.ts";
import { type FloatRows, halves, isRows, shaped } from "../memory/data.ts";
import type { Rows, Written } from "../memory/output.ts";
import { type Names, nested } from "../options.ts";
import { type AsyncOptions, ASYNC_NAMES } from "../steps/run-async.ts";
import type { Mask } from "./drop-mask.ts";

/** The options of attention that the layer knows itself. */
export type Settled = "numHeads" | "headDim" | "numKvHeads" | "valueDim" | "layout";

/**
 * Which attention weights `forward` returns too, and in which form, see `Heed.attentionWeights`.
 *
 * @category Layer and linear
 */
export type LayerWeights<
  Weights extends Rows | undefined = Rows | undefined,
  TopK extends number | undefined = number | undefined,
  Entropy extends boolean | Rows | undefined = boolean | Rows | undefined,
> = Pick<
  WeightsOptions<Weights, TopK, Entropy>,
  "rows" | "heads" | "reduce" | "topK" | "entropy" | "stage" | "weights" | "indices"
>;

/**
 * What `forward` takes besides x: the options of attention, and where k and v come from. The types of `out`, `lse` and
 * `weights` decide what the call returns.
 *
 * @category Layer and linear
 */
export interface ForwardOptions<
  Out extends FloatRows | undefined = FloatRows | undefined,
  Lse extends boolean | Rows | undefined = boolean | Rows | undefined,
  All extends boolean | undefined = boolean,
  Weights extends Rows | undefined = Rows | undefined,
  TopK extends number | undefined = number | undefined,
  Entropy extends boolean | Rows | undefined = boolean | Rows | undefined,
> extends Omit<AttentionOptions<Out, Lse>, Settled | "queryOffset"> {
  /** Default 1, or that of the cache. */
  batch?: number | undefined;
  /**
   * Cross-attention: the rows from which k and v are projected, [batch, seqLenKv, kvDim], or one array for each.
   * Default x.
   */
  context?: FloatRows | { k: FloatRows; v: FloatRows } | undefined;
  /** The projected k and v are appended to it, and the queries attend to all of its tokens. */
  cache?: KvCache | undefined;
  /** False: nothing is projected to k and v, and the queries attend to the tokens that the cache has. Default true. */
  append?: boolean | undefined;
  /** [batch]: how many of the new tokens each sequence of the cache takes, from the first on. Default all. */
  lengths?: Int32Array | undefined;
  /**
   * Non-zero = masked, as PyTorch's masks are; in the shapes of keepMask. With both masks a query sees a key that
   * keepMask keeps and dropMask does not drop. The two become one mask of the shape to which both broadcast, at most
   * one byte for each score.
   */
  dropMask?: Mask | undefined;
  /**
   * The position of query 0 among the keys. Where q and k are projected from the same rows, the default is the position
   * of its own key: 0, or the number of tokens that the sequence had in the cache. Else the default is that of
   * `attention`: the last query stands at the last key.
   */
  queryOffset?: number | Int32Array | undefined;
  /**
   * With rotary, the positions of the rows of x, as for `rotary`. Default from 0 on, in each packed sequence anew;
   * behind the tokens of the cache.
   */
  positions?: number | Int32Array | undefined;
  /** With rotary, the positions of the rows of the context. Default from 0 on, or behind the tokens of the cache. */
  contextPositions?: number | Int32Array | undefined;
  /** Whether the attention weights are returned too: all of them, or those of chosen rows and heads. Default false. */
  weights?: All | LayerWeights<Weights, TopK, Entropy> | undefined;
}

/** The options of `forward`. Those that the layer settles are among them, for an error that says so. */
export const FORWARD_NAMES: Names<ForwardOptions & AttentionOptions> = {
  ...ATTENTION_NAMES,
  context: readContext,
  cache: 0,
  append: 0,
  lengths: 0,
  dropMask: shaped,
  positions: 0,
  contextPositions: 0,
  weights: nested(CHOICE_NAMES),
};

/** The options of `forwardAsync`. */
export const ASYNC_FORWARD_NAMES: Names<ForwardOptions & AttentionOptions & AsyncOptions> = {
  ...FORWARD_NAMES,
  ...ASYNC_NAMES,
};

const readKAndV = /* @__PURE__ */ nested({ k: halves, v: halves });

/** Reads floats, of 16 bits too, or { k, v } of them. */
function readContext(value: unknown, title: string): unknown {
  const read = halves(value);
  return isRows(read) ? read : readKAndV(read, title);
}

/**
 * What `forward` returns. `All` is the type of `weights` where that is a boolean; where it is an object, `Weights`, `TopK`
 * and `Entropy` are the types of its options, and `All` may be undefined.
 *
 * @category Layer and linear
 */
export type ForwardResult<
  Out = FloatRows | undefined,
  Lse = boolean | Rows | undefined,
  All = boolean,
  Weights = Rows | undefined,
  TopK = number | undefined,
  Entropy = boolean | Rows | undefined,
> = Omit<AttentionResult<Out, Lse>, "out"> & {
  /** [batch, seqLenQ, outDim]; without an out-projection [batch, seqLenQ, numHeads, valueDim]. */
  out: Written<Out>;
} & ([All] extends [true]
    ? WeightsResult<undefined, undefined, undefined>
    : [All] extends [false | undefined]
      ? Partial<WeightsResult>
      : undefined extends All
        ? WeightsResult<Weights, TopK, Entropy>
        : Partial<WeightsResult>);
