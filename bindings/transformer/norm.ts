import { checkAbsent, checkBoolean, checkFinite, checkInteger, checkRows } from "../check.ts";
import { NORM_L2, NORM_LAYER, NORM_RMS } from "../engine/abi.ts";
import { MAX_DIM } from "../limits.ts";
import type { Rows, Written } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import type { BlockResult } from "./activate.ts";
import { type Site, isSame } from "./site.ts";

/** What both norms take. @category Transformer blocks */
export interface NormOptions<
  Out extends Rows | undefined = Rows | undefined,
  Sum extends boolean | Rows | undefined = boolean | Rows | undefined,
> {
  /** [dim]. Default ones. */
  weight?: Rows | undefined;
  /** Floats in a row. Default the length of `weight`. */
  dim?: number | undefined;
  /** Is added to the mean of squares, or to the variance; greater than 0. */
  eps?: number | undefined;
  /** [rows, dim], added to x before the norm: what is normalised is x + residual. Default none. */
  residual?: Rows | undefined;
  /** With `residual`, x + residual as well: true for a fresh array, or where to write it, such as `residual` itself. */
  sum?: Sum | undefined;
  /** Where to write, [rows, dim]; may be x or `residual`. Default a fresh Float32Array. */
  out?: Out | undefined;
}

/** What `rmsNorm` takes besides x. @category Transformer blocks */
export interface RmsNormOptions<
  Out extends Rows | undefined = Rows | undefined,
  Sum extends boolean | Rows | undefined = boolean | Rows | undefined,
> extends NormOptions<Out, Sum> {
  /** Whether the weight is stored less 1, as Gemma has it: rows are multiplied by 1 + weight. Default false. */
  unitOffset?: boolean | undefined;
}

/** What `layerNorm` takes besides x. @category Transformer blocks */
export interface LayerNormOptions<
  Out extends Rows | undefined = Rows | undefined,
  Sum extends boolean | Rows | undefined = boolean | Rows | undefined,
> extends NormOptions<Out, Sum> {
  /** [dim], added at the end. Default none. */
  bias?: Rows | undefined;
}

/** What `l2Normalize` takes besides x. @category Transformer blocks */
export interface L2Options<Out extends Rows | undefined = Rows | undefined> {
  /** Floats in a row. */
  dim: number;
  /** The least length that a row is divided by; greater than 0. Default 1e-12. */
  eps?: number | undefined;
  /** Where to write, [rows, dim]; may be x. Default a fresh Float32Array. */
  out?: Out | undefined;
}

/** What a norm returns. @category Transformer blocks */
export type NormResult<Out = Rows | undefined, Sum = boolean | Rows | undefined> = {
  /** [rows, dim] */
  out: Written<Out>;
} & ([Sum] extends [true | Rows]
  ? {
      /** [rows, dim], x + residual. */
      sum: Written<Sum>;
    }
  : { sum?: Written<Sum> });

const NORM: Names<NormOptions> = { weight: 0, dim: 0, eps: 0, residual: 0, sum: 0, out: 0 };
const RMS: Names<RmsNormOptions> = { ...NORM, unitOffset: 0 };
const LAYER: Names<LayerNormOptions> = { ...NORM, bias: 0 };
const L2: Names<L2Options> = { dim: 0, eps: 0, out: 0 };

type AnyOptions = RmsNormOptions & LayerNormOptions;

/** See {@link Blocks.rmsNorm}. */
export function rmsNorm(site: Site, x: unknown, given: unknown): NormResult {
  return norm(site, x, NORM_RMS, 1e-6, readOptions("rmsNorm", given, RMS));
}

/** See {@link Blocks.layerNorm}. */
export function layerNorm(site: Site, x: unknown, given: unknown): NormResult {
  return norm(site, x, NORM_LAYER, 1e-5, readOptions("layerNorm", given, LAYER));
}

/** See {@link Blocks.l2Normalize}. */
export function l2Normalize(site: Site, x: unknown, given: unknown): BlockResult {
  return norm(site, x, NORM_L2, 1e-12, readOptions("l2Normalize", given, L2));
}

/** Any of the norms: check, copy in, run, copy out, release. */
function norm({ instance, kernels }: Site, xIn: unknown, kind: number, least: number, options: AnyOptions): NormResult {
  const { arena, own } = instance;
  const { eps = least, unitOffset = false, out: outIn, sum: sumIn } = options;
  const x = own.checkFloats("x", xIn, arena);
  let weight = options.weight === undefined ? undefined : own.checkFloats("weight", options.weight, arena);
  const dim = checkInteger("dim", options.dim ?? weight?.length, 1, MAX_DIM);
  const optional = (name: "weight" | "bias" | "residual", length: number, what: string) =>
    options[name] === undefined ? undefined : own.checkFloatsOf(name, options[name], arena, length, what);
  weight = optional("weight", dim, "dim");
  const bias = optional("bias", dim, "dim");
  const rows = checkRows("x", x.length, dim, "dim");
  const residual = optional("residual", x.length, "that of x");
  checkFinite("eps", eps, 0);
  checkBoolean("unitOffset", unitOffset);
  if (!weight && unitOffset) checkAbsent(options, ["unitOffset"], 'nothing without a "weight"');
  if (!residual && sumIn) checkAbsent(options, ["sum"], 'nothing without a "residual"');
  const out = new own.Output(arena, "out", outIn, x.length, "that of x");
  const sum = own.optionalOutput(arena, "sum", sumIn, x.length, "that of x");
  const apart = {
    x: isSame(x, out) || isSame(x, sum) ? undefined : xIn,
    residual: isSame(residual, out) || isSame(residual, sum) ? undefined : options.residual,
  };
  own.checkApart(arena, { out: outIn, sum: sumIn }, apart, { weight: options.weight, bias: options.bias });

  return own.withScope(arena, (scope) => {
    const xPtr = scope.input(x);
    const residualPtr = scope.input(residual);
    const [weightPtr, biasPtr] = [scope.input(weight), scope.input(bias)];
    const outPtr = out.reserve(scope, x.array && xPtr);
    const sumPtr = sum.reserve(scope, residual?.array && residualPtr);
    const s = sumPtr || (residual ? scope.reserve(dim * 4) : 0);
    const sumStride = sumPtr && dim * 4;
    const offset = Number(unitOffset);
    kernels.normRows(outPtr, s, xPtr, residualPtr, weightPtr, biasPtr, rows, dim, sumStride, eps, offset, kind);
    return sumPtr ? { out: out.take()!, sum: sum.take()! } : { out: out.take()! };
  });
}
