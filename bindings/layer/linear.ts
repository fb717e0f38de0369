import { checkAbsent, checkRows, wrongKind, wrongValue } from "../check.ts";
import { F32, PANEL_FEATURES } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { linearKernels } from "../engine/module.ts";
import { inputAsF32 } from "../engine/widen.ts";
import { type Arena, floatsAt } from "../memory/arena.ts";
import { type CallScope, withScope } from "../memory/call-scope.ts";
import {
  type FloatRows,
  type Floats,
  checkAnyFloats,
  checkFloatsOf,
  floatsOf,
  halves,
  shapedHalves,
} from "../memory/data.ts";
import { Output, type Written, checkApart } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import { type Activation, checkActivation } from "./epilogue.ts";
import { runInPieces } from "./in-pieces.ts";
import { type CheckedWeight, checkBias, checkWeight, formOf, isBlocks } from "./linear-weights.ts";
import { type WeightRows, pack } from "./pack.ts";
import { type PackOptions, type Packed, PACK_NAMES, PackedLinear, type WeightOptions } from "./packed-linear.ts";
import { type Epilogue, runLinear, runRaw, scratchBytesOf } from "./run-linear.ts";

/** What `linear` takes besides x, the weight and the bias. @category Layer and linear */
export interface LinearOptions<Out extends FloatRows | undefined = FloatRows | undefined> extends WeightOptions {
  /** What becomes of x·Wᵀ + bias. A gate halves the features of out: those of the gate come first in W. Default none. */
  activation?: Activation | undefined;
  /** [rows, features of out], added at the end. May be `out`. Default none. */
  residual?: FloatRows | undefined;
  /**
   * Where to write, [rows, features of out]. Floats of 16 bits are rounded to nearest even; f16 saturates finite values at
   * ±65 504. Default a fresh Float32Array.
   */
  out?: Out | undefined;
}

/** Options that a packed weight settles. */
const SETTLED = ["inFeatures", "outFeatures", "transposed"] as const;
/** `dtype` is known, for an error that says where it belongs. */
const LINEAR_NAMES: Names<LinearOptions & PackOptions> = {
  ...PACK_NAMES,
  out: halves,
  activation: 0,
  residual: halves,
};

/** What `linear` returns. @category Layer and linear */
export interface LinearResult<Out = FloatRows | undefined> {
  /** [rows, outFeatures], with a gate [rows, outFeatures / 2] */
  out: Written<Out>;
}

/** out = act(x·Wᵀ + bias) + residual, see `Heed.linear`: check, copy in, run, copy out, release. */
export function linear(
  instance: Instance,
  xGiven: unknown,
  weightIn: unknown,
  biasGiven: unknown,
  given: LinearOptions,
): { out: FloatRows } {
  const { arena } = instance;
  const options = readOptions("linear", given, LINEAR_NAMES);
  checkAbsent(options, ["dtype"], "nothing: packLinear(weight, bias, { dtype }) stores a weight as int8 or q4");
  const xIn = halves(xGiven);
  const weight = PackedLinear.isPacked(weightIn) ? weightIn : shapedHalves(weightIn);
  if (!PackedLinear.isPacked(weight) && isBlocks(weight))
    throw wrongKind("weight", "floats, or what packLinear made of blocks", weight);
  const biasIn = shapedHalves(biasGiven);
  const x = checkAnyFloats("x", xIn, arena);
  const packed = PackedLinear.isPacked(weight) ? checkPacked(arena, weight, biasIn, options) : undefined;
  const raw = packed ? undefined : checkWeight(arena, { ...options, weight, bias: biasIn }, options);
  const { inFeatures, bias } = packed ?? raw!;
  const { number: activation, isGated } = checkActivation(options.activation);
  const outFeatures = (packed ?? raw!).outFeatures / (isGated ? 2 : 1);
  if (!Number.isInteger(outFeatures)) {
    throw wrongValue("weight", "an even number of output features (a gate)", 2 * outFeatures);
  }
  const rows = checkRows("x", x.length, inFeatures, "inFeatures");
  const what = `rows of x × outFeatures${isGated ? " / 2" : ""}`;
  const out = new Output<FloatRows>(arena, "out", options.out, rows * outFeatures, what, checkAnyFloats);
  const { residual: residualIn } = options;
  const residual =
    residualIn === undefined
      ? undefined
      : checkFloatsOf("residual", residualIn, arena, rows * outFeatures, what, checkAnyFloats);
  const isOut = residual?.ptr !== undefined && residual.ptr === out.place?.ptr && residual.type === out.type;
  // That of 16 bits is read as a copy in f32.
  const isInPlace = isOut && out.type === F32;
  checkApart(arena, { out: options.out }, { x: xIn, weight, bias: biasIn, residual: isOut ? undefined : residualIn });

  const isFused = activation !== 0 || residual !== undefined;
  if (isFused) linearKernels(instance);

  return withScope(arena, (scope) => {
    const residualType = residual ? residual.type : F32;
    const inPieces = (x.type | residualType | out.type | (raw ? (raw.data as Floats).type : F32)) !== F32;
    const xPtr = scope.input(x);
    const biasPtr = inputAsF32(instance, scope, bias);
    const weightPtr = inPieces ? 0 : scope.input(raw?.data);
    const form = packed ?? formOf("f32", raw!);
    const { group, isInt4, panelBytes } = form;
    // A gate has two panels for one of out, so all are packed before.
    const panelCount = isGated ? Math.ceil((2 * outFeatures) / PANEL_FEATURES) : 1;
    const panels = packed?.panels ?? (inPieces ? 0 : scope.reserve(panelCount * panelBytes));
    const epilogue: Epilogue | undefined = isFused
      ? {
          residual: scope.input(residual),
          isInPlace,
          activation,
          upPanels: isGated ? panels + Math.floor(outFeatures / PANEL_FEATURES) * panelBytes : 0,
          upLane: isGated ? outFeatures % PANEL_FEATURES : 0,
          upBias: isGated && bias ? biasPtr + outFeatures * 4 : 0,
        }
      : undefined;
    // Written out, as a spread takes V8 far longer.
    const call = {
      out: 0,
      x: xPtr,
      panels,
      bias: biasPtr,
      rows,
      inFeatures,
      outFeatures,
      outStride: outFeatures * 4,
      group,
      isInt4,
      panelBytes,
      epilogue,
    };
    const scratch = inPieces ? 0 : scope.reserve(scratchBytesOf(instance, call, rows));
    call.out = out.reserve(scope);
    // Threads read a copy of what is written over, unless there is no memory for one.
    const copy = isInPlace && instance.pool ? scope.attempt(() => copyOf(scope, arena, residual)) : undefined;
    if (epilogue && copy !== undefined) {
      epilogue.residual = copy;
      epilogue.isInPlace = false;
    }
    if (inPieces) {
      runInPieces(instance, scope, call, { x: x.type, residual: residualType, out: out.type }, raw);
    } else if (raw && !isGated) runRaw(instance, call, weightPtr, raw, scratch);
    else {
      if (raw) pack(instance, panels, allOf(raw, weightPtr), 0);
      runLinear(instance, call, scratch);
    }
    return { out: out.take()! };
  });
}

/** All of a weight of f32 at an address. */
function allOf({ inFeatures, outFeatures, outStride, inStride }: CheckedWeight, ptr: number): WeightRows {
  return { ptr, outBytes: outStride * 4, inBytes: inStride * 4, inFeatures, outFeatures, type: F32 };
}

/** The address of a copy. */
function copyOf(scope: CallScope, arena: Arena, floats: Floats): number {
  const copy = scope.reserve(floats.length * 4);
  floatsAt(arena, copy, floats.length).set(floatsOf(arena, floats));
  return copy;
}

/** Checks a packed weight, and that no option beside it says what it settles. */
function checkPacked(
  arena: Arena,
  weight: PackedLinear,
  biasIn: unknown,
  options: LinearOptions,
): Packed & Pick<PackedLinear, "inFeatures" | "outFeatures"> {
  const { inFeatures, outFeatures } = weight;
  const { panels, bias, group, isInt4, panelBytes } = weight.addressesIn(arena, "weight");
  checkAbsent(options, SETTLED, "nothing beside a packed weight", wrongValue);
  // Written out, as a spread takes V8 far longer.
  if (biasIn === undefined) return { panels, bias, inFeatures, outFeatures, group, isInt4, panelBytes };
  if (bias) throw wrongValue("bias", "nothing beside a packed weight that brings one", biasIn);
  const own = checkBias("bias", biasIn, arena, outFeatures);
  return { panels, bias: own, inFeatures, outFeatures, group, isInt4, panelBytes };
}
