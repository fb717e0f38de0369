// What must hold after any call, whatever it was given.
import { types } from "node:util";
import { POISON } from "../support/guarded.ts";
import type { Call } from "./parts.ts";
import { OWN_ERROR, type World } from "./values.ts";

/** A call may take this long; more means that its work follows a number, and not the data. */
const MOST_MS = 1000;

/** Makes a call in `world`, calls, and throws an Error where anything is not as promised. */
export function judge(world: World, make: () => Call): void {
  const { heed } = world;
  const mine = heed.memory.used;
  let call: Call | undefined;
  try {
    fillCache(world);
    call = make();
    const { used } = heed.memory;
    const before = call.given.map(({ value }) => contentsOf(value));
    const cacheBefore = cacheBits(world);
    let result: unknown;
    let error: unknown;
    const start = performance.now();
    try {
      result = call.run(...call.given.map(({ value }) => value));
    } catch (caught) {
      error = caught;
    }
    const ms = performance.now() - start;
    if (ms > MOST_MS) throw new Error(`the call took ${ms.toFixed(0)} ms`);
    if (error !== undefined) {
      const said = error instanceof Error ? error.message : "what is no Error";
      checkError(error);
      if (!world.interfered) {
        call.given.forEach(({ value }, n) => {
          const after = contentsOf(value);
          // Memory that grows takes the views of it away.
          if (after.length > 0 && !same(before[n]!, after))
            throw new Error(`argument ${n} was written before the error: ${said}`);
        });
        if (!same(cacheBefore, cacheBits(world))) throw new Error(`the cache was changed before the error: ${said}`);
        if (heed.memory.used !== used) throw new Error(`${heed.memory.used - used} bytes leaked after ${said}`);
      }
    } else {
      checkResult(world, result);
      dispose(result);
    }
  } finally {
    call?.dispose?.();
    world.cache.dispose();
    for (const tensor of world.tensors) tensor.dispose();
  }
  const left = heed.memory.used - mine;
  // The cache was made before: its pages count for it, and it is gone now.
  if (left !== 0) throw new Error(`${left} bytes leaked`);
  checkGolden(world);
}

function fillCache({ cache }: World): void {
  const k = Float32Array.from({ length: 2 * 5 * 2 * 4 }, (_, i) => Math.fround(((i * 37) % 19) / 19));
  const v = Float32Array.from({ length: 2 * 5 * 2 * 3 }, (_, i) => Math.fround(((i * 53) % 23) / 23));
  cache.append(k, v, { lengths: Int32Array.of(5, 3) });
}

/** The promised classes, and a message that begins with the name of an argument; or the caller's own error. */
function checkError(error: unknown): void {
  if (error === OWN_ERROR) return;
  const known = error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
  const message = error instanceof Error ? error.message : "";
  // A revoked Proxy throws where it is looked at, as a getter of the caller's may.
  if (error instanceof TypeError && message.endsWith("a proxy that has been revoked")) return;
  if (known && /^"[^"]+" (expected .+, got .+|is no option of .+)/s.test(message)) return;
  throw new Error(`an error that names no argument: ${message}`, { cause: error });
}

/** The bits of floats, as many as the engine says that there are. */
const words = (floats: Float32Array | Uint16Array): Uint32Array => new Uint32Array(new Float32Array(floats).buffer);

/** Every float that can be reached in a value, as bits. */
function contentsOf(value: unknown, depth = 0): number[] {
  if (types.isProxy(value)) return [];
  if (types.isTypedArray(value) && isLost(value)) return [];
  if (value instanceof Float32Array) return [...words(value)];
  if (value instanceof Int32Array || value instanceof Uint8Array || value instanceof Uint16Array) return [...value];
  if (typeof value !== "object" || value === null || depth > 2) return [];
  if (isTensor(value)) return [...words(value.data)];
  if (Object.getPrototypeOf(value) !== Object.prototype) return [];
  return Object.values(Object.getOwnPropertyDescriptors(value)).flatMap((own) =>
    "value" in own ? contentsOf(own.value, depth + 1) : [],
  );
}

/** Whether a view has lost its buffer, or the part of it that it showed. */
function isLost(view: ArrayBufferView): boolean {
  return Reflect.get(Uint8Array.prototype, "byteLength", view) === 0;
}

function isTensor(value: object): value is { data: Float32Array | Uint16Array } {
  try {
    return value.constructor.name === "Tensor" && ArrayBuffer.isView((value as { data: unknown }).data);
  } catch {
    return false; // Disposed, a Proxy, or hostile.
  }
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** The lengths of the cache, and what its tokens give. */
function cacheBits({ cache }: World): number[] {
  try {
    const { lengths } = cache;
    const { out } = cache.attention(new Float32Array(2 * 2 * 4).fill(0.5), { numHeads: 2 });
    return [...lengths, ...words(out)];
  } catch {
    return []; // Disposed of by the caller's code.
  }
}

/** Whether the outputs are written as a whole: no poison in them, and no NaN where all that was given is finite. */
function checkResult(world: World, result: unknown): void {
  if (typeof result !== "object" || result === null) return;
  for (const [name, value] of Object.entries(result as Record<string, unknown>)) {
    const floats =
      value instanceof Float32Array
        ? value
        : typeof value === "object" && value !== null && isTensor(value)
          ? value.data
          : undefined;
    if (!floats) continue;
    const bits = words(floats);
    // A view of memory that the caller's code has given back reads what stands there.
    if (bits.includes(POISON) && !world.interfered) throw new Error(`${name} has memory that was not written`);
    if (!world.special && floats.some(Number.isNaN)) throw new Error(`${name} has NaN out of finite numbers`);
  }
}

/** Disposes of a handle that a call has made. */
function dispose(result: unknown): void {
  if (typeof result !== "object" || result === null || !("dispose" in result)) return;
  (result.dispose as () => void).call(result);
}

const goldens = new WeakMap<object, string>();

/** The same call gives the same bits after whatever went before. */
function checkGolden({ heed }: World): void {
  const floats = (length: number) => Float32Array.from({ length }, (_, i) => ((i * 29) % 31) / 31 - 0.5);
  const { out, lse } = heed.attention(floats(48), floats(96), floats(96), {
    numHeads: 2,
    headDim: 8,
    causal: true,
    lse: true,
  });
  const bits = [...words(out), ...words(lse)].join();
  const golden = goldens.get(heed) ?? bits;
  goldens.set(heed, golden);
  if (bits !== golden) throw new Error("the same call gives other bits than before");
}
