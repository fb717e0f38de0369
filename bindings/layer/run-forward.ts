import { attentionWeights } from "../attention-weights/attention-weights.ts";
import { type AttentionResult, attentionSteps } from "../attention/attention.ts";
import type { Instance } from "../engine/instance.ts";
import type { Appended } from "../kv-cache/calls.ts";
import type { Arena } from "../memory/arena.ts";
import { CallScope } from "../memory/call-scope.ts";
import { Output, checkApart, optionalOutput } from "../memory/output.ts";
import { type FloatRows, type Floats, checkAnyFloats } from "../memory/data.ts";
import { F32, type FloatDtype, bytesOf, dtypeOf } from "../memory/float-types.ts";
import { Tensor, viewAt } from "../memory/tensor.ts";
import { record } from "../options.ts";
import { rotary } from "../rotary/rotary.ts";
import type { Share, Steps } from "../steps/steps.ts";
import type { ForwardOptions } from "./forward-options.ts";
import type { ForwardCall } from "./forward.ts";
import type { PackedLinear } from "./packed-linear.ts";
import { type Projection, project, reserveProjections, workOf } from "./projections.ts";

/** q, k and v, and what attention makes of them, in the memory of a call. */
interface Heads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** [batch, rowsQ, numHeads, valueDim] */
  readonly out: Tensor<FloatDtype>;
  /** Only where it is needed. */
  readonly lse: Tensor | undefined;
}

/**
 * A checked call of `forward`: copy in, project, rotate, attend, project back, copy out, release. `inSteps` it does so
 * step by step, of which the first one copies what the caller may change.
 */
export function* runForward(
  instance: Instance,
  call: ForwardCall,
  options: ForwardOptions,
  inSteps: boolean,
): Steps<object> {
  const { arena } = instance;
  const { x, kSource, vSource, batch, rowsQ, rowsKv, weights, cache, lengths, layer } = call;
  const { numHeads, numKvHeads, headDim, valueDim } = layer.dims;
  const [qLinear, kLinear, vLinear, outLinear] = layer.packed as PackedLayer;
  const rows = batch * rowsQ;
  const headsLength = rows * numHeads * valueDim;
  const outLength = outLinear ? rows * outLinear.outFeatures : headsLength;
  const what = "batch × seqLenQ × outDim";
  const out = new Output<FloatRows>(arena, "out", options.out, outLength, what, checkAnyFloats);
  const lse = optionalOutput(arena, "lse", options.lse, rows * numHeads, "batch × numHeads × seqLenQ");
  const targets = { weights: weights?.weights, entropy: weights?.entropy, indices: weights?.indices };
  // These two are written when everything has been read, so they may lie over inputs.
  checkApart(arena, { out: options.out, lse: options.lse, ...targets });

  const scope = new CallScope(arena, inSteps);
  let appended: Appended | undefined;
  let isDone = false;
  try {
    const reserve = (length: number): Tensor => new Tensor(arena, length, scope.reserve(length * 4), "f32");
    const xPtr = scope.input(x);
    const kPtr = kSource === x ? xPtr : scope.input(kSource);
    const vPtr = vSource === kSource ? kPtr : scope.input(vSource);
    const q = reserve(rows * numHeads * headDim);
    const k = reserve(batch * rowsKv * numKvHeads * headDim);
    const v = reserve(batch * rowsKv * numKvHeads * valueDim);
    // The outputs of attention stay in the scope until nothing can fail any more.
    const attendedType = outLinear ? F32 : out.type;
    const attendedPtr = scope.reserve(headsLength * bytesOf(attendedType));
    const attended = new Tensor(arena, headsLength, attendedPtr, dtypeOf(attendedType));
    const outPtr = out.reserve(scope);
    const lsePtr = lse.reserve(scope);
    const heads: Heads = { q, k, v, out: attended, lse: lsePtr || weights ? reserve(rows * numHeads) : undefined };

    const projectionOf = (linear: PackedLinear, x: number, { type: xType }: Floats, to: Tensor): Projection => {
      return { linear, x, xType, out: addressOf(arena, to), outType: F32, rows: to === q ? rows : batch * rowsKv };
    };
    const projections = [projectionOf(qLinear, xPtr, x, q)];
    if (kSource) projections.push(projectionOf(kLinear, kPtr, kSource, k));
    if (vSource) projections.push(projectionOf(vLinear, vPtr, vSource, v));
    const back: Projection[] = outLinear
      ? [{ linear: outLinear, x: attendedPtr, xType: F32, out: outPtr, outType: out.type, rows }]
      : [];
    const memory = reserveProjections(instance, scope, [...projections, ...back]);
    const shares = inSteps ? sharesOf(call, projections, back) : [];

    yield* project(instance, projections, memory, shares[0]);
    rotateNew(instance, call, heads);
    if (cache && kSource) appended = cache.beginAppend(k, v, { lengths, positions: positionsToKeep(call) });
    yield* attend(instance, call, heads, shares[1]);
    // What is written in place comes last; in steps nothing is.
    let seen = inSteps ? undefined : weigh(instance, call, heads);
    if (outLinear) yield* project(instance, back, memory, shares[2]);
    else copy(arena, outPtr, attended);
    if (lsePtr && heads.lse) copy(arena, lsePtr, heads.lse);
    if (inSteps) {
      out.checkAgain();
      lse.checkAgain();
      seen = weigh(instance, call, heads);
    }
    const writtenLse = lse.take();
    const result = { out: out.take()!, ...(writtenLse && { lse: writtenLse }), ...seen };
    isDone = true;
    return result;
  } finally {
    if (isDone) appended?.keep();
    else appended?.undo();
    scope.release();
  }
}

type PackedLayer = [PackedLinear, PackedLinear, PackedLinear, PackedLinear?];

/** The shares of the projections, of attention, and of the projection back. */
function sharesOf(
  { batch, rowsQ, rowsKv, cache, layer }: ForwardCall,
  projections: readonly Projection[],
  back: readonly Projection[],
): [Share, Share, Share] {
  const { numHeads, headDim, valueDim } = layer.dims;
  const keys = (cache?.length ?? 0) + rowsKv;
  const attentionWork = batch * rowsQ * keys * numHeads * (headDim + valueDim);
  const parts = [workOf(projections), attentionWork, workOf(back)] as const;
  const total = parts[0] + parts[1] + parts[2] || 1;
  const [first, second] = [parts[0] / total, (parts[0] + parts[1]) / total];
  return [
    { from: 0, to: first },
    { from: first, to: parts[2] > 0 ? second : 1 },
    { from: second, to: 1 },
  ];
}

/**
 * The positions of the new tokens that the cache would not give them itself: on several axes the largest one, behind
 * which text goes on.
 */
function positionsToKeep({ arePositionsGiven, kPositions, rowsKv, layer }: ForwardCall): Int32Array | undefined {
  if (!arePositionsGiven) return undefined;
  if (typeof kPositions === "number") return Int32Array.from({ length: rowsKv }, (_, n) => kPositions + n);
  const rows = kPositions.length / (layer.rotary?.sections?.length ?? 1);
  const largest = kPositions.slice(0, rows);
  for (let n = rows; n < kPositions.length; n++) largest[n % rows] = Math.max(largest[n % rows]!, kPositions[n]!);
  return largest;
}

/** Rotates the new rows of q and k in place, where the layer applies rotary embedding. */
function rotateNew(instance: Instance, call: ForwardCall, { q, k }: Heads): void {
  const { batch, positions, kPositions, kSource, layer } = call;
  if (!layer.rotary) return;
  const { numHeads, numKvHeads, headDim } = layer.dims;
  const form = { ...layer.rotary, headDim, batch };
  rotary(instance, q, { ...form, numHeads, positions, out: q });
  if (kSource) rotary(instance, k, { ...form, numHeads: numKvHeads, positions: kPositions, out: k });
}

/** Attention of q over k and v, or over the cache. */
function attend(instance: Instance, call: ForwardCall, heads: Heads, share?: Share): Steps<AttentionResult> {
  const { cache, attention } = call;
  const { q, k, v, out, lse } = heads;
  const options = record(attention, { out, lse });
  return cache ? cache.attentionSteps(q, options, share) : attentionSteps(instance, q, k, v, options, share);
}

/** The attention weights, if they were asked for. */
function weigh(instance: Instance, call: ForwardCall, { q, k, lse }: Heads): object | undefined {
  const { cache, attention, weights } = call;
  if (!weights) return undefined;
  // The weights before the softmax need no denominator.
  const known = (weights.stage ?? "softmax") === "softmax" ? lse : undefined;
  const options = { ...attention, ...weights, lse: known };
  return cache ? cache.attentionWeights(q, options) : attentionWeights(instance, q, k, options);
}

/** The address of a tensor. */
function addressOf(arena: Arena, tensor: Tensor): number {
  return tensor.ptrIn(arena, "x");
}

/** Copies the floats of a tensor to an address. */
function copy(arena: Arena, to: number, from: Tensor<FloatDtype>): void {
  viewAt(arena, to, from.length, from.type).set(from.data);
}
