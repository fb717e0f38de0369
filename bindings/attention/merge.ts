import { checkChoice, checkInteger, checkObject, checkRows, perBatch, wrongKind, wrongValue } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import type { Arena } from "../memory/arena.ts";
import { CallScope } from "../memory/call-scope.ts";
import { type Floats, checkFloats, checkFloatsOf } from "../memory/data.ts";
import type { Layout } from "../memory/layout.ts";
import { Output, type Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";

/** What `attention` returned, with lse, for some of the keys. @category Split keys */
export interface Part {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Float32Array | Tensor;
  /** [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
  lse: Float32Array | Tensor;
}

/** What `merge` takes besides the parts. @category Split keys */
export interface MergeOptions {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of out. Required where valueDim is absent. */
  headDim?: number | undefined;
  /** Default headDim. */
  valueDim?: number | undefined;
  /** Default 1; packed sequences are a batch of 1. */
  batch?: number | undefined;
  /** The layout of out, in every part and in the result. Default "blhd". */
  layout?: Layout | undefined;
  /** [numHeads]: one more logit for each query head, in the denominator only. No part may have counted it already. */
  sinks?: Float32Array | Tensor | undefined;
  /** Where to write out; may be the out of a part. Default a fresh Float32Array. */
  out?: Float32Array | Tensor | undefined;
  /** Where to write lse; may be the lse of a part. Default, and true, a fresh Float32Array. */
  lse?: true | Float32Array | Tensor | undefined;
}

/** What `merge` returns. @category Split keys */
export interface MergeResult<O extends MergeOptions = MergeOptions> {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Written<O["out"]>;
  /** [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
  lse: Written<O["lse"]>;
}

/** A checked call of `merge`. */
interface MergeCall {
  readonly parts: readonly { out: Floats; lse: Floats }[];
  readonly sinks: Floats | undefined;
  readonly numHeads: number;
  /** Floats in a row of out. */
  readonly dim: number;
  readonly layout: Layout;
  readonly seqLenQ: number;
  /** batch × seqLenQ × numHeads */
  readonly rows: number;
}

/** Bytes of the rows of out that are copied in together, for all parts. */
const PIECE_BYTES = 2 ** 20;

/** Merges attention over split keys, see `Heed.merge`: check, copy in piece by piece, run, copy out, release. */
export function merge(instance: Instance, partsIn: unknown, options: MergeOptions): MergeResult {
  const { arena } = instance;
  const call = checkMerge(arena, partsIn, options);
  const { parts, sinks, dim, rows } = call;
  const out = Output.required(arena, "out", options.out, rows * dim, "that of every part");
  const lseOption = options.lse === true ? undefined : options.lse;
  const lse = Output.required(arena, "lse", lseOption, rows, "that of every part");
  out.checkApartFrom({ sinks, lse: lse.place });
  lse.checkApartFrom({ sinks });
  parts.forEach((part, p) => {
    // An output may be exactly that of a part, since the kernel reads a row of every part before it writes the row.
    const titles = { out: `parts[${p}].out`, lse: `parts[${p}].lse` };
    out.checkApartFrom({ [titles.out]: isSame(out.place, part.out) ? undefined : part.out, [titles.lse]: part.lse });
    lse.checkApartFrom({ [titles.out]: part.out, [titles.lse]: isSame(lse.place, part.lse) ? undefined : part.lse });
  });

  const scope = new CallScope(arena);
  try {
    mergePieces(instance, call, scope, out.reserve(scope), lse.reserve(scope));
    return { out: out.take()!, lse: lse.take()! };
  } finally {
    scope.release();
  }
}

/** Whether both are the same floats in linear memory. */
function isSame(a: Floats | undefined, b: Floats): boolean {
  return a?.ptr !== undefined && a.ptr === b.ptr && a.length === b.length;
}

/** Runs the kernel for a piece of the rows after the other, so that arrays of any size need little memory. */
function mergePieces({ arena, kernels }: Instance, call: MergeCall, scope: CallScope, out: number, lse: number): void {
  const { parts, numHeads, dim, layout, seqLenQ, rows } = call;
  const count = parts.length;
  const rowBytes = dim * 4;
  const copiedParts = parts.filter((part) => part.out.array).length;
  const pieceRows =
    copiedParts === 0 ? rows : Math.max(1, Math.min(rows, Math.floor(PIECE_BYTES / (copiedParts * rowBytes))));
  const scratch = scope.reserve(kernels.mergeBytes(count));
  const sinks = scope.input(call.sinks);
  const lses = parts.map((part) => scope.input(part.lse));
  const pieces = parts.map((part) => (part.out.array ? scope.reserve(pieceRows * rowBytes) : 0));
  const outTable = scope.reserve(count * 4);
  const lseTable = scope.reserve(count * 4);
  new Int32Array(arena.buffer, lseTable, count).set(lses);
  for (let first = 0; first < rows; first += pieceRows) {
    const pieceLength = Math.min(pieceRows, rows - first);
    const outs = parts.map(({ out: { array, ptr } }, p) => {
      if (!array) return ptr + first * rowBytes;
      const piece = array.subarray(first * dim, (first + pieceLength) * dim);
      new Float32Array(arena.buffer, pieces[p], piece.length).set(piece);
      return pieces[p]!;
    });
    new Int32Array(arena.buffer, outTable, count).set(outs);
    const dims = [numHeads, seqLenQ, dim, layout === "bhld"] as const;
    kernels.mergeRows(
      out + first * rowBytes,
      lse,
      outTable,
      lseTable,
      sinks,
      scratch,
      count,
      first,
      pieceLength,
      ...dims,
    );
  }
}

/** Checks the parts and every option but the outputs. */
function checkMerge(arena: Arena, partsIn: unknown, options: MergeOptions): MergeCall {
  checkObject("options", options);
  const numHeads = checkInteger("numHeads", options.numHeads, 1);
  const { headDim, valueDim, batch = 1, layout = "blhd", sinks } = options;
  if (headDim !== undefined) checkInteger("headDim", headDim, 1);
  const dim = checkInteger(headDim === undefined ? "headDim" : "valueDim", valueDim ?? headDim, 1);
  checkInteger("batch", batch, 1);
  checkChoice("layout", layout, ["blhd", "bhld"]);
  if (!Array.isArray(partsIn)) throw wrongKind("parts", "an array of { out, lse }", partsIn);
  if (partsIn.length === 0) throw wrongValue("parts", "at least one part", 0);

  const what = `${perBatch(batch)}numHeads × ${valueDim === undefined ? "headDim" : "valueDim"}`;
  let seqLenQ: number | undefined;
  const parts = partsIn.map((part: unknown, p) => {
    checkObject(`parts[${p}]`, part);
    const { out, lse } = part as { out?: unknown; lse?: unknown };
    const floats = checkFloats(`parts[${p}].out`, out, arena);
    const rows = checkRows(`parts[${p}].out`, floats.length, batch * numHeads * dim, what);
    seqLenQ ??= rows;
    if (rows !== seqLenQ) {
      throw wrongValue(
        `parts[${p}].out`,
        `a length of ${batch * numHeads * dim * seqLenQ} (that of parts[0].out)`,
        floats.length,
      );
    }
    const length = batch * numHeads * seqLenQ;
    return { out: floats, lse: checkFloatsOf(`parts[${p}].lse`, lse, arena, length, "batch × numHeads × seqLenQ") };
  });
  return {
    parts,
    sinks: sinks === undefined ? undefined : checkFloatsOf("sinks", sinks, arena, numHeads, "numHeads"),
    numHeads,
    dim,
    layout,
    seqLenQ: seqLenQ!,
    rows: batch * numHeads * seqLenQ!,
  };
}
