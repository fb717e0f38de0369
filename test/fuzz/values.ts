// What a fuzzed call is given: right values, nearly right ones, and hostile ones, each with a text that shows it.
import { createContext, runInContext } from "node:vm";
import fc from "fast-check";
import type { Heed } from "../../bindings/heed.ts";
import type { KvCache } from "../../bindings/kv-cache/kv-cache.ts";
import type { FloatDtype } from "../../bindings/memory/float-types.ts";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import { halvesOf } from "../support/halves.ts";
import type { Blocks } from "../../bindings/transformer/blocks.ts";

/** Draws a value from an arbitrary of fast-check, which can shrink it later. */
export type Draw = fc.GeneratorValue;

/** A value, and how a report shows it. */
export interface Given {
  value: unknown;
  text: string;
}

/** What a case works on, and what must be given back after it. */
export interface World {
  heed: Heed;
  blocks: Blocks;
  other: Heed;
  cache: KvCache;
  tensors: Tensor<FloatDtype>[];
  /** Whether code of the caller has run inside the call, so that what it did is not the call's doing. */
  interfered: boolean;
  /** Whether a NaN or an infinity is among the floats. */
  special: boolean;
}

/** The error of a caller's own getter, which a call must let through. */
export const OWN_ERROR = new Error("the caller's own");

const realm = createContext();
const foreign = (kind: string, values: readonly number[]) =>
  runInContext(`${kind}.of(${values.map((x) => (Object.is(x, -0) ? "-0" : String(x))).join()})`, realm) as unknown;

export const integer = (draw: Draw, min: number, max: number): number => draw(fc.integer, { min, max });
export const chance = (draw: Draw, one: number): boolean => integer(draw, 1, one) === one;
export const pick = <T>(draw: Draw, values: readonly T[]): T => values[integer(draw, 0, values.length - 1)]!;

export const literal = (value: unknown): Given => ({ value, text: show(value) });

function show(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "() => {}";
  return Object.is(value, -0) ? "-0" : String(value);
}

/** Floats from −2 to 2, now and then with special values among them: as an array of any make, or as a Tensor. */
export function floats(draw: Draw, world: World, length: number): Given {
  const seed = integer(draw, 0, 999);
  const values = Array.from({ length }, (_, i) => (((i * 7919 + seed * 104729) % 401) - 200) / 100);
  if (length > 0 && chance(draw, 12)) {
    const special = pick(draw, [NaN, Infinity, -Infinity, -0, 1e-40, 3e38]);
    values[integer(draw, 0, length - 1)] = special;
    world.special ||= !Number.isFinite(special) || special === 3e38;
  }
  const text = `(${length}, seed ${seed})`;
  switch (pick(draw, ["array", "array", "array", "tensor", "tensor", "shared", "foreign", "view"])) {
    case "tensor": {
      const tensor = world.heed.tensor(length);
      tensor.data.set(values);
      world.tensors.push(tensor);
      return { value: tensor, text: `Tensor${text}` };
    }
    case "shared": {
      const shared = new Float32Array(new SharedArrayBuffer(length * 4));
      shared.set(values);
      return { value: shared, text: `shared Float32Array${text}` };
    }
    case "foreign":
      return { value: foreign("Float32Array", values), text: `foreign Float32Array${text}` };
    case "view": {
      const view = new Float32Array(new ArrayBuffer(length * 4 + 16), 8, length);
      view.set(values);
      return { value: view, text: `view Float32Array${text}` };
    }
    default:
      return { value: Float32Array.from(values), text: `Float32Array${text}` };
  }
}

/** The same, or such of 16 bits: in a Uint16Array with its dtype, or in a Tensor. */
export function anyFloats(draw: Draw, world: World, length: number): Given {
  if (chance(draw, 2)) return floats(draw, world, length);
  const seed = integer(draw, 0, 999);
  const dtype = pick(draw, ["f16", "bf16"] as const);
  const { data } = halvesOf(
    Array.from({ length }, (_, i) => (((i * 7919 + seed * 104729) % 401) - 200) / 100),
    dtype,
  );
  const text = `${dtype}(${length}, seed ${seed})`;
  if (chance(draw, 2)) return { value: { data, dtype }, text };
  const tensor = world.heed.tensor(length, dtype);
  tensor.data.set(data);
  world.tensors.push(tensor);
  return { value: tensor, text: `Tensor of ${text}` };
}

export function integers(draw: Draw, values: readonly number[]): Given {
  const text = `Int32Array[${values.join()}]`;
  return chance(draw, 6)
    ? { value: foreign("Int32Array", values), text: `foreign ${text}` }
    : { value: Int32Array.from(values), text };
}

export function bytes(draw: Draw, length: number): Given {
  const seed = integer(draw, 0, 99);
  const value = Uint8Array.from({ length }, (_, i) => ((i * 7 + seed) % 5 === 0 ? 0 : 255));
  return { value, text: `Uint8Array(${length}, seed ${seed})` };
}

/** An object of given values. */
export function object(entries: Record<string, Given>): Given {
  const value = Object.fromEntries(Object.entries(entries).map(([name, given]) => [name, given.value]));
  const text = `{ ${Object.entries(entries)
    .map(([name, given]) => `${name}: ${given.text}`)
    .join(", ")} }`;
  return { value, text };
}

export function list(items: readonly Given[]): Given {
  return { value: items.map(({ value }) => value), text: `[${items.map(({ text }) => text).join(", ")}]` };
}

const transferred = <T extends { buffer: ArrayBufferLike }>(array: T): T => {
  structuredClone(null, { transfer: [array.buffer as ArrayBuffer] });
  return array;
};

function shrunk(): unknown {
  const Resizable = ArrayBuffer as unknown as new (
    bytes: number,
    options: object,
  ) => ArrayBuffer & { resize(to: number): void };
  const buffer = new Resizable(64, { maxByteLength: 64 });
  const array = new Float32Array(buffer, 0, 16);
  buffer.resize(8);
  return array;
}

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const throwing = (): unknown =>
  new Proxy(
    {},
    {
      get() {
        throw OWN_ERROR;
      },
      ownKeys() {
        throw OWN_ERROR;
      },
      getPrototypeOf() {
        throw OWN_ERROR;
      },
    },
  );

/** Values that belong nowhere. */
const HOSTILE: Record<string, (world: World) => unknown> = {
  undefined: () => undefined,
  null: () => null,
  NaN: () => NaN,
  "−0": () => -0,
  "−1": () => -1,
  "0": () => 0,
  "0.5": () => 0.5,
  "2^20 + 1": () => 2 ** 20 + 1,
  "2^27": () => 2 ** 27,
  "2^31": () => 2 ** 31,
  "2^32 + 1": () => 2 ** 32 + 1,
  "2^53": () => 2 ** 53,
  Infinity: () => Infinity,
  "1864113": () => 1864113,
  '"4"': () => "4",
  '""': () => "",
  true: () => true,
  "1n": () => 1n,
  symbol: () => Symbol("x"),
  function: () => () => 1,
  "{}": () => ({}),
  "[]": () => [],
  "sparse array": () => new Array<unknown>(2 ** 32 - 1),
  "[NaN]": () => [NaN],
  Date: () => new Date(0),
  "transferred Float32Array": () => transferred(new Float32Array(4)),
  "transferred Int32Array": () => transferred(new Int32Array(4)),
  "transferred Uint8Array": () => transferred(new Uint8Array(4)),
  "shrunk Float32Array": shrunk,
  Float64Array: () => new Float64Array(4),
  Uint16Array: () => new Uint16Array(4),
  DataView: () => new DataView(new ArrayBuffer(16)),
  ArrayBuffer: () => new ArrayBuffer(16),
  "revoked Proxy": revoked,
  "throwing Proxy": throwing,
  "Proxy of a Tensor": ({ heed, tensors }) => {
    const tensor = heed.tensor(4);
    tensors.push(tensor);
    return new Proxy(tensor, {});
  },
  "Tensor of another instance": ({ other }) => other.tensor(4),
  "disposed Tensor": ({ heed }) => {
    const tensor = heed.tensor(4);
    tensor.dispose();
    return tensor;
  },
  "view of linear memory": ({ heed, tensors }) => {
    const tensor = heed.tensor(4);
    tensors.push(tensor);
    return new Float32Array(tensor.data.buffer, tensor.data.byteOffset, 4);
  },
  "integers in linear memory": ({ heed, tensors }) => {
    const tensor = heed.tensor(4);
    tensors.push(tensor);
    return new Int32Array(tensor.data.buffer, tensor.data.byteOffset, 4);
  },
  "an object whose tag throws": () =>
    Object.defineProperty({}, Symbol.toStringTag, {
      get() {
        throw OWN_ERROR;
      },
    }),
  "a lying array": () =>
    Object.defineProperties(new Float32Array(4), { length: { value: 9e9 }, byteLength: { value: -1 } }),
};

export function hostile(draw: Draw, world: World): Given {
  const text = pick(draw, Object.keys(HOSTILE));
  return { value: HOSTILE[text]!(world), text };
}

/** What a getter of the caller does before it gives its value. */
const EFFECTS: Record<string, (world: World) => void> = {
  "truncates the cache": ({ cache }) => {
    cache.truncate(0);
  },
  "resets the cache": ({ cache }) => {
    cache.reset();
  },
  "disposes of the cache": ({ cache }) => {
    cache.dispose();
  },
  "disposes of the tensors": ({ tensors }) => {
    for (const tensor of tensors.splice(0)) tensor.dispose();
  },
  "lets memory grow": ({ heed, tensors }) => {
    tensors.push(heed.tensor(2 ** 18));
  },
  throws: () => {
    throw OWN_ERROR;
  },
};

/** The same object, one of whose properties is a getter that does something. */
export function interfering(draw: Draw, world: World, given: Given): Given {
  const names = Object.keys(given.value as object);
  if (names.length === 0) return given;
  const name = pick(draw, names);
  const effect = pick(draw, Object.keys(EFFECTS));
  const own = Object.getOwnPropertyDescriptors(given.value as object) as Record<string, PropertyDescriptor>;
  const before = own[name]?.value as unknown;
  const value = Object.defineProperty(Object.defineProperties({}, { ...own, [name]: { configurable: true } }), name, {
    enumerable: true,
    get() {
      world.interfered = true;
      EFFECTS[effect]!(world);
      return before;
    },
  });
  return { value, text: `${given.text} whose ${name} ${effect}` };
}
