import { disposed, inUse, isObject, notOurs, wrongKind } from "../check.ts";
import type { Arena } from "./arena.ts";
import { F32, FLOAT_TYPES, type FloatDtype, bytesOf } from "./float-types.ts";

/** A view of `length` floats at `ptr`, of 16 bits as they are; the next allocation may detach it. */
export function viewAt(arena: Arena, ptr: number, length: number, type: number): Float32Array | Uint16Array {
  return type === F32 ? new Float32Array(arena.buffer, ptr, length) : new Uint16Array(arena.buffer, ptr, length);
}

/** @internal Whether a value is a Tensor, of any instance: no Proxy of one, and none that only inherits from one. */
export let isTensor: (value: unknown) => value is Tensor<FloatDtype>;

/**
 * Floats in an instance's linear memory. A Tensor may be passed wherever a Float32Array is expected, to the instance
 * that made it: it is read and written in place, without a copy. One of 16 bits may be passed wherever 16 bits are taken.
 *
 * @example
 * import { load } from "heed";
 *
 * const heed = await load();
 * const x = heed.tensor(1000);
 * x.data.fill(1);
 * @category Memory
 */
export class Tensor<Dtype extends FloatDtype = "f32"> {
  static {
    isTensor = (value): value is Tensor<FloatDtype> => isObject(value) && #ptr in value;
  }

  readonly #length: number;
  readonly #dtype: Dtype;
  readonly #arena: Arena;
  /** Undefined once disposed. */
  #ptr: number | undefined;
  /** How many asynchronous calls use it. */
  #uses = 0;

  /** @internal A name for `length` floats at `ptr`, which belong to whoever reserved them. */
  constructor(arena: Arena, length: number, ptr: number, dtype: Dtype) {
    this.#length = length;
    this.#dtype = dtype;
    this.#arena = arena;
    this.#ptr = ptr;
  }

  /**
   * @internal `length` floats of its own, zero at first, which `dispose` gives back. Throws a RangeError where memory
   * cannot grow.
   */
  static allocate<Dtype extends FloatDtype = "f32">(arena: Arena, length: number, type?: Dtype): Tensor<Dtype> {
    const dtype = (type ?? "f32") as Dtype;
    const ptr = arena.allocate(length * bytesOf(FLOAT_TYPES[dtype]));
    const tensor = new Tensor(arena, length, ptr, dtype);
    tensor.data.fill(0);
    arena.watch(tensor, [ptr]);
    return tensor;
  }

  /** Number of floats. */
  get length(): number {
    return Tensor.#checked(this).#length;
  }

  /** What the floats are: "f32", "f16" or "bf16". */
  get dtype(): Dtype {
    return Tensor.#checked(this).#dtype as Dtype;
  }

  /**
   * The floats; those of 16 bits as a Uint16Array of their bits, in every engine. The view is made anew at each access,
   * because growing memory detaches older ones: use it and let it go. Of an instance with threads it is a view of a
   * SharedArrayBuffer, and outlives growth.
   * @throws ReferenceError after `dispose`
   */
  get data(): Dtype extends "f32" ? Float32Array : Uint16Array {
    Tensor.#checked(this);
    const ptr = this.ptrIn(this.#arena, "tensor");
    return viewAt(this.#arena, ptr, this.#length, this.type) as Dtype extends "f32" ? Float32Array : Uint16Array;
  }

  /** @internal The number of the dtype. */
  get type(): number {
    return FLOAT_TYPES[this.#dtype];
  }

  /** Refuses a Proxy of a Tensor, as frameworks make them of what they watch. */
  static #checked(value: unknown): Tensor<FloatDtype> {
    if (!isTensor(value)) throw wrongKind("tensor", "a Tensor itself", value);
    return value;
  }

  /** @internal The address, for the instance that owns `arena`; `title` names the argument in errors. */
  ptrIn(arena: Arena, title: string): number {
    if (this.#ptr === undefined) throw disposed(title, "Tensor");
    if (arena !== this.#arena) throw notOurs(title, "Tensor");
    return this.#ptr;
  }

  /** @internal Refuses `dispose` until the returned function is called. */
  hold(): () => void {
    this.#uses++;
    return () => {
      this.#uses--;
    };
  }

  /**
   * Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError.
   *
   * @throws TypeError where an asynchronous call uses it that has not ended
   * @example
   * x.dispose(); // or `using x = heed.tensor(1000)`
   */
  dispose(): void {
    if (this.#ptr === undefined) return;
    if (this.#uses > 0) throw inUse("tensor", "Tensor");
    this.#arena.unwatch(this);
    this.#arena.release(this.#ptr);
    this.#ptr = undefined;
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Holds the Tensors among checked arguments, and in their options, such as `bias.data`. Returns what ends that. */
export function holdTensors(values: readonly unknown[], depth: number = 2): (() => void)[] {
  return values.flatMap((value) => {
    if (isTensor(value)) return [value.hold()];
    if (depth === 0 || !isObject(value) || ArrayBuffer.isView(value)) return [];
    return holdTensors(Object.values(value) as unknown[], depth - 1);
  });
}
