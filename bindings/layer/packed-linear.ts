import { checkAbsent, checkChoice, disposed, isObject, notOurs, wrongValue } from "../check.ts";
import { F32, PANEL_FEATURES } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { linearKernels } from "../engine/module.ts";
import { inputAsF32 } from "../engine/widen.ts";
import type { Arena } from "../memory/arena.ts";
import { withScope } from "../memory/call-scope.ts";
import { type Floats, shapedHalves } from "../memory/data.ts";
import { type Names, readOptions } from "../options.ts";
import { packIntegers } from "./integers.ts";
import {
  type CheckedWeight,
  type Features,
  type PackedForm,
  type WeightDtype,
  WEIGHT_DTYPES,
  checkWeight,
  formOf,
  isBlocks,
} from "./linear-weights.ts";
import { packFloats } from "./pack.ts";

/** How a weight is stored. @category Layer and linear */
export interface WeightOptions extends Features {
  /** Whether the weight is [inFeatures, outFeatures], as Keras and ONNX have it. Default false. */
  transposed?: boolean | undefined;
}

/** How a weight is packed. @category Layer and linear */
export interface PackOptions extends WeightOptions {
  /**
   * How the weight is stored. `"int8"` rounds it to −127 … 127 in units of max|w|/127 over 64 input features of an output
   * feature; `"q4"` to −8 … 7 over 32, as GGUF's q4_0. A quarter, and five 32nds, of the memory of `"f32"`, the default.
   */
  dtype?: WeightDtype | undefined;
}

/** The options of `packLinear`. */
export const PACK_NAMES: Names<PackOptions> = { inFeatures: 0, outFeatures: 0, transposed: 0, dtype: 0 };

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
  /** How the weight is stored. */
  readonly dtype: WeightDtype;
  readonly #arena: Arena;
  readonly #form: PackedForm;
  /** The address of the panels, and of the bias behind them where there is one. */
  readonly #ptr: number;
  readonly #bytes: number;
  readonly #bias: Floats | undefined;
  #disposed = false;

  /** @internal `title` is what errors call the weight. */
  constructor(instance: Instance, weight: CheckedWeight, dtype: WeightDtype, title: string) {
    const { arena } = instance;
    arena.check();
    const { bias, inFeatures, outFeatures, blocks } = weight;
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.dtype = blocks === undefined ? dtype : blocks === "q8_0" ? "int8" : "q4";
    this.#arena = arena;
    const form = formOf(this.dtype, weight);
    if (form.group) linearKernels(instance);
    this.#form = form;
    const panelBytes = Math.ceil(outFeatures / PANEL_FEATURES) * form.panelBytes;
    this.#bytes = panelBytes + (bias ? outFeatures * 4 : 0);
    const ptr = arena.allocate(this.#bytes);
    try {
      withScope(arena, (scope) => {
        if (form.group) packIntegers(instance, scope, ptr, weight, form, title);
        else packFloats(instance, scope, ptr, weight);
        const from = inputAsF32(instance, scope, bias);
        if (bias) new Uint8Array(arena.buffer).copyWithin(ptr + panelBytes, from, from + outFeatures * 4);
      });
    } catch (error) {
      arena.release(ptr);
      throw error;
    }
    this.#ptr = ptr;
    this.#bias = bias && { ptr: ptr + panelBytes, length: outFeatures, type: F32 };
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
   * @internal The address of the panels, their form, and the bias, for the instance that owns `arena`.
   *
   * @param title the name of the argument in errors
   * @throws ReferenceError after `dispose`, TypeError for another instance
   */
  addressesIn(arena: Arena, title: string): Packed {
    if (this.#disposed) throw disposed(title, "PackedLinear");
    if (arena !== this.#arena) throw notOurs(title, "PackedLinear");
    arena.check();
    const { group, isInt4, panelBytes } = this.#form;
    return { panels: this.#ptr, bias: this.#bias, group, isInt4, panelBytes };
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

/** Where a packed weight is. */
export interface Packed extends PackedForm {
  panels: number;
  bias: Floats | undefined;
}

/** Packs a weight and its bias, see `Heed.packLinear`. */
export function packLinear(instance: Instance, weightIn: unknown, bias: unknown, given: PackOptions): PackedLinear {
  const options = readOptions("packLinear", given, PACK_NAMES);
  const weight = shapedHalves(weightIn);
  const { dtype = "f32" } = options;
  checkChoice("dtype", dtype, WEIGHT_DTYPES);
  if (isBlocks(weight)) checkAbsent(options, ["dtype"], `nothing beside blocks of ${weight.dtype}`, wrongValue);
  const linear = { ...options, weight, bias: shapedHalves(bias) };
  return new PackedLinear(instance, checkWeight(instance.arena, linear, options), dtype, "weight");
}
