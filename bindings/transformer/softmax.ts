import { checkFinite, checkInteger, checkRows } from "../check.ts";
import { MAX_DIM } from "../limits.ts";
import type { Rows } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import type { BlockResult } from "./activate.ts";
import { type Site, isSame } from "./site.ts";

/** What `softmax` takes besides x. @category Transformer blocks */
export interface SoftmaxOptions<Out extends Rows | undefined = Rows | undefined> {
  /** Floats in a row. */
  dim: number;
  /** What x is multiplied by before; greater than 0, the reciprocal of a temperature. Default 1. */
  scale?: number | undefined;
  /** Where to write, [rows, dim]; may be x. Default a fresh Float32Array. */
  out?: Out | undefined;
}

/** What `scaleLogits` takes besides x. @category Transformer blocks */
export interface ScaleLogitsOptions<Out extends Rows | undefined = Rows | undefined> {
  /** What x is multiplied by. Default 1. */
  scale?: number | undefined;
  /** c > 0: c·tanh(x·scale/c). Default off. */
  softcap?: number | undefined;
  /** Where to write, of the length of x; may be x. Default a fresh Float32Array. */
  out?: Out | undefined;
}

const SOFTMAX: Names<SoftmaxOptions> = { dim: 0, scale: 0, out: 0 };
const LOGITS: Names<ScaleLogitsOptions> = { scale: 0, softcap: 0, out: 0 };

/** See {@link Blocks.softmax}. */
export function softmax(site: Site, x: unknown, given: unknown): BlockResult {
  const options = readOptions<SoftmaxOptions>("softmax", given, SOFTMAX);
  const dim = checkInteger("dim", options.dim, 1, MAX_DIM);
  const scale = checkFinite("scale", options.scale ?? 1, 0);
  const { constants } = site.instance;
  return inPlace(site, x, options.out, dim, (out, x, scratch, rows) =>
    site.kernels.softmaxRows(out, x, scratch, rows, dim, scale, constants),
  );
}

/** See {@link Blocks.scaleLogits}. */
export function scaleLogits(site: Site, x: unknown, given: unknown): BlockResult {
  const options = readOptions<ScaleLogitsOptions>("scaleLogits", given, LOGITS);
  const scale = checkFinite("scale", options.scale ?? 1);
  const cap = options.softcap === undefined ? 0 : checkFinite("softcap", options.softcap, 0);
  const { constants } = site.instance;
  return inPlace(site, x, options.out, 1, (out, x, scratch, count) =>
    site.kernels.capLogits(out, x, scratch, count, scale, cap, constants),
  );
}

/** A call whose output has the length of x and may be x: check, copy in, run, copy out, release. */
function inPlace(
  { instance, kernels }: Site,
  xIn: unknown,
  outIn: unknown,
  dim: number,
  run: (out: number, x: number, scratch: number, rows: number) => void,
): BlockResult {
  const { arena, own } = instance;
  const x = own.checkFloats("x", xIn, arena);
  const rows = checkRows("x", x.length, dim, "dim");
  const out = new own.Output(arena, "out", outIn, x.length, "that of x");
  own.checkApart(arena, { out: outIn }, { x: isSame(x, out) ? undefined : xIn });
  return own.withScope(arena, (scope) => {
    const xPtr = scope.input(x);
    run(out.reserve(scope, x.array && xPtr), xPtr, scope.reserve(kernels.softmaxBytes()), rows);
    return { out: out.take()! };
  });
}
