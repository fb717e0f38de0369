import { checkAbsent, checkRows, disposed, isObject, notOurs, wrongValue } from "../check.ts";
import { PANEL_FEATURES } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Arena } from "../memory/arena.ts";
import { withScope } from "../memory/call-scope.ts";
import { type Floats, checkFloats, shaped } from "../memory/data.ts";
import { Output, type Rows, type Written, checkApart } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { type Names, readOptions } from "../options.ts";
import { type CheckedWeight, type Features, checkBias, checkWeight } from "./linear-weights.ts";
import { pack, runLinear, runRaw } from "./run-linear.ts";

/** How a weight is stored. @category Layer and linear */
export interface WeightOptions extends Features {
  /** Whether the weight is [inFeatures, outFeatures], as Keras and ONNX have it. Default false. */
  transposed?: boolean | undefined;
}

const WEIGHT_NAMES: Names<WeightOptions> = { inFeatures: 0, outFeatures: 0, transposed: 0 };

/** What `linear` takes besides x, the weight and the bias. @category Layer and linear */
export interface LinearOptions<Out extends Rows | undefined = Rows | undefined> extends WeightOptions {
  /** Where to write, [rows, outFeatures]. Default a fresh Float32Array. */
  out?: Out | undefined;
}

/** Options that a packed weight settles. */
const SETTLED = ["inFeatures", "outFeatures", "transposed"] as const;
const LINEAR_NAMES: Names<LinearOptions> = { ...WEIGHT_NAMES, out: 0 };

/** What `linear` returns. @category Layer and linear */
export interface LinearResult<Out = Rows | undefined> {
  /** [rows, outFeatures] */
  out: Written<Out>;
}

/**
 * A weight in linear memory, and its bias where it has one, packed into panels of PANEL_FEATURES output features, as
 * the kernel reads it. Made by `heed.packLinear`.
 *
 * @example
 * import { load } from "heed";
 *
 * const heed = await load();
 * const packed = heed.packLinear(new Float32Array(3 * 2), undefined, { inFeatures: 2 });
 * console.log(packed.inFeatures, packed.outFeatures); // → 2 3
 * @category Layer and linear
 */
export class PackedLinear {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly #arena: Arena;
  /** The address of the panels, and of the bias behind them where there is one. */
  readonly #ptr: number;
  readonly #bytes: number;
  readonly #bias: Floats | undefined;
  #disposed = false;

  /** @internal */
  constructor(instance: Instance, weight: CheckedWeight) {
    const { arena } = instance;
    arena.check();
    const { data, bias, inFeatures, outFeatures } = weight;
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.#arena = arena;
    const panelBytes = Math.ceil(outFeatures / PANEL_FEATURES) * PANEL_FEATURES * inFeatures * 4;
    this.#bytes = panelBytes + (bias ? outFeatures * 4 : 0);
    this.#ptr = withScope(arena, (scope) => {
      const weightPtr = scope.input(data);
      const biasPtr = scope.input(bias);
      const ptr = arena.allocate(this.#bytes);
      pack(instance, ptr, weightPtr, weight);
      if (bias) new Uint8Array(arena.buffer).copyWithin(ptr + panelBytes, biasPtr, biasPtr + outFeatures * 4);
      return ptr;
    });
    this.#bias = bias && { ptr: this.#ptr + panelBytes, length: outFeatures };
    arena.watch(this, [this.#ptr]);
    Object.freeze(this);
  }

  /** @internal Whether a value is a PackedLinear, of any instance: no Proxy of one. */
  static isPacked(value: unknown): value is PackedLinear {
    return isObject(value) && #bytes in value;
  }

  /** Bytes of linear memory that it takes. */
  get bytes(): number {
    this.addressesIn(this.#arena, "weight");
    return this.#bytes;
  }

  /**
   * @internal The address of the panels, and the bias, for the instance that owns `arena`.
   *
   * @param title the name of the argument in errors
   * @throws ReferenceError after `dispose`, TypeError for another instance
   */
  addressesIn(arena: Arena, title: string): { panels: number; bias: Floats | undefined } {
    if (this.#disposed) throw disposed(title, "PackedLinear");
    if (arena !== this.#arena) throw notOurs(title, "PackedLinear");
    arena.check();
    return { panels: this.#ptr, bias: this.#bias };
  }

  /**
   * Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError.
   *
   * @example
   * packed.dispose(); // or `using packed = heed.packLinear(…)`
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#arena.unwatch(this);
    this.#arena.release(this.#ptr);
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Packs a weight and its bias, see `Heed.packLinear`. */
export function packLinear(instance: Instance, weight: unknown, bias: unknown, given: WeightOptions): PackedLinear {
  const options = readOptions("packLinear", given, WEIGHT_NAMES);
  const linear = { ...options, weight: shaped(weight), bias: shaped(bias) };
  return new PackedLinear(instance, checkWeight(instance.arena, linear, options));
}

/** out = x·Wᵀ + bias, see `Heed.linear`: check, copy in, run, copy out, release. */
export function linear(
  instance: Instance,
  xIn: unknown,
  weightIn: unknown,
  biasGiven: unknown,
  given: LinearOptions,
): { out: Float32Array | Tensor } {
  const { arena, kernels } = instance;
  const options = readOptions("linear", given, LINEAR_NAMES);
  const weight = PackedLinear.isPacked(weightIn) ? weightIn : shaped(weightIn);
  const biasIn = shaped(biasGiven);
  const x = checkFloats("x", xIn, arena);
  const packed = PackedLinear.isPacked(weight) ? checkPacked(arena, weight, biasIn, options) : undefined;
  const raw = packed ? undefined : checkWeight(arena, { ...options, weight, bias: biasIn }, options);
  const { inFeatures, outFeatures, bias } = packed ?? raw!;
  const rows = checkRows("x", x.length, inFeatures, "inFeatures");
  const out = new Output(arena, "out", options.out, rows * outFeatures, "rows of x × outFeatures");
  checkApart(arena, { out: options.out }, { x: xIn, weight, bias: biasIn });

  return withScope(arena, (scope) => {
    const xPtr = scope.input(x);
    const biasPtr = scope.input(bias);
    const weightPtr = scope.input(raw?.data);
    const panels = packed?.panels ?? scope.reserve(PANEL_FEATURES * inFeatures * 4);
    const scratch = scope.reserve(kernels.linearScratchBytes());
    const outPtr = out.reserve(scope);
    const call = { out: outPtr, x: xPtr, panels, bias: biasPtr, rows, inFeatures, outFeatures };
    if (raw) runRaw(instance, call, weightPtr, raw, scratch);
    else runLinear(instance, call, scratch);
    return { out: out.take()! };
  });
}

/** Checks a packed weight, and that no option beside it says what it settles. */
function checkPacked(
  arena: Arena,
  weight: PackedLinear,
  biasIn: unknown,
  options: LinearOptions,
): { panels: number; bias: Floats | undefined; inFeatures: number; outFeatures: number } {
  const { inFeatures, outFeatures } = weight;
  const { panels, bias } = weight.addressesIn(arena, "weight");
  checkAbsent(options, SETTLED, "nothing beside a packed weight", wrongValue);
  // Written out, as a spread takes V8 far longer.
  if (biasIn === undefined) return { panels, bias, inFeatures, outFeatures };
  if (bias) throw wrongValue("bias", "nothing beside a packed weight that brings one", biasIn);
  return { panels, bias: checkBias("bias", biasIn, arena, outFeatures), inFeatures, outFeatures };
}
