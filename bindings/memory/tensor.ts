import { disposed, inUse, isObject, notOurs, wrongKind } from "../check.ts";
import { type Arena, floatsAt } from "./arena.ts";

/** @internal Whether a value is a Tensor, of any instance: no Proxy of one, and none that only inherits from one. */
export let isTensor: (value: unknown) => value is Tensor;

/**
 * Floats in an instance's linear memory. A Tensor may be passed wherever a Float32Array is expected, to the instance
 * that made it: it is read and written in place, without a copy.
 *
 * @example
 * import { load } from "heed";
 *
 * const heed = await load();
 * const x = heed.tensor(1000);
 * x.data.fill(1);
 * @category Memory
 */
export class Tensor {
  static {
    isTensor = (value): value is Tensor => isObject(value) && #ptr in value;
  }

  readonly #length: number;
  readonly #arena: Arena;
  /** Undefined once disposed. */
  #ptr: number | undefined;
  /** How many asynchronous calls use it. */
  #uses = 0;

  /** @internal A name for `length` floats at `ptr`, which belong to whoever reserved them. */
  constructor(arena: Arena, length: number, ptr: number) {
    this.#length = length;
    this.#arena = arena;
    this.#ptr = ptr;
  }

  /**
   * @internal `length` floats of its own, zero at first, which `dispose` gives back. Throws a RangeError where memory
   * cannot grow.
   */
  static allocate(arena: Arena, length: number): Tensor {
    const ptr = arena.allocate(length * 4);
    const tensor = new Tensor(arena, length, ptr);
    tensor.data.fill(0);
    arena.watch(tensor, [ptr]);
    return tensor;
  }

  /** Number of floats. */
  get length(): number {
    return Tensor.#checked(this).#length;
  }

  /**
   * The floats. The view is made anew at each access, because growing memory detaches older ones: use it and let it go.
   * Of an instance with threads it is a view of a SharedArrayBuffer, and outlives growth.
   * @throws ReferenceError after `dispose`
   */
  get data(): Float32Array {
    Tensor.#checked(this);
    return floatsAt(this.#arena, this.ptrIn(this.#arena, "tensor"), this.#length);
  }

  /** Refuses a Proxy of a Tensor, as frameworks make them of what they watch. */
  static #checked(value: unknown): Tensor {
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
