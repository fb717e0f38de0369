import { checkAbsent, checkInteger, checkRows, wrongKind } from "../check.ts";
import { type Activation, checkActivation } from "../layer/epilogue.ts";
import { MAX_DIM } from "../limits.ts";
import type { Rows, Written } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import { type Site, isSame } from "./site.ts";

/** What `activate` takes besides x. @category Transformer blocks */
export interface ActivateOptions<Out extends Rows | undefined = Rows | undefined> {
  /** As for `heed.linear`; the gates are "swiglu", "geglu" and "geglu-tanh". */
  activation: Activation;
  /** With a gate: what act(x) is multiplied by, of the shape of x. Left out, it is the second half of each row of x. */
  up?: Rows | undefined;
  /** With a gate and no `up`: floats in a row of out, half of those in a row of x. */
  dim?: number | undefined;
  /** Where to write; may be x or `up` where it has their length. Default a fresh Float32Array. */
  out?: Out | undefined;
}

/** What calls return that have one output. @category Transformer blocks */
export interface BlockResult<Out = Rows | undefined> {
  out: Written<Out>;
}

const NAMES: Names<ActivateOptions> = { activation: 0, up: 0, dim: 0, out: 0 };

/** See {@link Blocks.activate}: check, copy in, run, copy out, release. */
export function activate({ instance, kernels }: Site, xIn: unknown, given: unknown): BlockResult {
  const { arena, constants, own } = instance;
  const options = readOptions<ActivateOptions>("activate", given, NAMES);
  const name: unknown = options.activation;
  if (name === undefined) throw wrongKind("activation", 'a name such as "gelu"', name);
  const { number, isGated } = checkActivation(name);
  if (!isGated) checkAbsent(options, ["up", "dim"], `nothing with "${options.activation}", which is no gate`);
  const x = own.checkFloats("x", xIn, arena);
  const up = options.up === undefined ? undefined : own.checkFloatsOf("up", options.up, arena, x.length, "that of x");
  if (up) checkAbsent(options, ["dim"], 'nothing beside "up"');
  const isHalved = isGated && !up;
  const dim = isHalved ? checkInteger("dim", options.dim, 1, MAX_DIM) : x.length;
  const rows = isHalved ? checkRows("x", x.length, 2 * dim, "2 × dim") : 1;
  const what = isHalved ? "rows of x × dim" : "that of x";
  const out = new own.Output(arena, "out", options.out, rows * dim, what);
  const apart = {
    x: !isHalved && isSame(x, out) ? undefined : xIn,
    up: isSame(up, out) ? undefined : options.up,
  };
  own.checkApart(arena, { out: options.out }, apart);

  return own.withScope(arena, (scope) => {
    const xPtr = scope.input(x);
    const upPtr = up ? scope.input(up) : isHalved ? xPtr + dim * 4 : 0;
    const outPtr = out.reserve(scope, isHalved ? undefined : x.array && xPtr);
    kernels.activateRows(outPtr, xPtr, upPtr, rows, dim, isHalved ? dim * 8 : dim * 4, number, constants);
    return { out: out.take()! };
  });
}
