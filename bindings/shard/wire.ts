// Messages as bytes, for sockets:
//
//     "hshd" · u32 version · u32 bytes of the head · head, JSON in UTF-8 · zeros up to a multiple of 4 · arrays
//
// The head is { fields, arrays: [[name, type, length], …] }: the message without its typed arrays, and those in the order
// in which they follow, each up to a multiple of 4 bytes. All numbers are little-endian, as in linear memory.
import { checkObject, isTypedArray, wrongKind, wrongValue } from "../check.ts";

const MAGIC = 0x64687368; // "hshd"
const VERSION = 1;
const START = 12;
const ARRAYS = { Float32Array, Uint8Array };
type ArrayName = keyof typeof ARRAYS;

const aligned = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/**
 * A message as bytes: an object of what JSON has, and of Float32Arrays and Uint8Arrays.
 *
 * @throws TypeError where `message` is no object
 * @example
 * import { decode, encode } from "heed/shard";
 *
 * const bytes = encode({ op: "attend", q: Float32Array.of(1, 2) });
 * console.log(decode(bytes)); // → { op: 'attend', q: Float32Array(2) [ 1, 2 ] }
 * @category Messages
 */
export function encode(message: object): Uint8Array<ArrayBuffer> {
  checkObject("message", message);
  const fields: Record<string, unknown> = {};
  const arrays: [string, ArrayName, Float32Array | Uint8Array][] = [];
  for (const name of Object.keys(message)) {
    const value = (message as Record<string, unknown>)[name];
    const type = (["Float32Array", "Uint8Array"] as const).find((kind) => isTypedArray(kind, value));
    if (type) arrays.push([name, type, value as Float32Array]);
    else fields[name] = value;
  }
  const head = new TextEncoder().encode(
    JSON.stringify({ fields, arrays: arrays.map(([name, type, { length }]) => [name, type, length]) }),
  );
  const size = arrays.reduce((sum, [, , { byteLength }]) => sum + aligned(byteLength), aligned(START + head.length));
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setUint32(8, head.length, true);
  bytes.set(head, START);
  let at = aligned(START + head.length);
  for (const [, , { buffer, byteOffset, byteLength }] of arrays) {
    bytes.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += aligned(byteLength);
  }
  return bytes;
}

/**
 * The message that {@link encode} made bytes of. Its arrays are copies.
 *
 * @throws TypeError where `bytes` is no Uint8Array; RangeError for bytes of another kind, of another version, cut
 * short, or with more behind
 * @example
 * import { decode, encode } from "heed/shard";
 *
 * const { op, q } = decode(encode({ op: "attend", q: Float32Array.of(1, 2) }));
 * console.log(op, q); // → attend Float32Array(2) [ 1, 2 ]
 * @category Messages
 */
export function decode(bytes: Uint8Array): Record<string, unknown> {
  if (!isTypedArray("Uint8Array", bytes)) throw wrongKind("bytes", "a Uint8Array", bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < START || view.getUint32(0, true) !== MAGIC) {
    throw new RangeError('"bytes" expected a message of heed/shard, got other bytes');
  }
  const version = view.getUint32(4, true);
  if (version !== VERSION) throw wrongValue("bytes", `a message of version ${VERSION}`, version);
  const headBytes = view.getUint32(8, true);
  if (START + headBytes > bytes.length) throw cut(START + headBytes, bytes);
  const { fields, arrays } = readHead(bytes.subarray(START, START + headBytes));
  let at = aligned(START + headBytes);
  const found: [string, unknown][] = Object.entries(fields);
  for (const [name, type, length] of arrays) {
    const size = length * ARRAYS[type].BYTES_PER_ELEMENT;
    if (at + aligned(size) > bytes.length) throw cut(at + aligned(size), bytes);
    const { buffer } = Uint8Array.prototype.slice.call(bytes, at, at + size);
    found.push([name, new ARRAYS[type](buffer, 0, length)]);
    at += aligned(size);
  }
  if (at !== bytes.length) throw wrongValue("bytes", `a message of ${at} bytes, as its head says`, bytes.length);
  // Not by assignment: "__proto__" becomes a field like any other.
  return Object.fromEntries(found);
}

function cut(expected: number, { length }: Uint8Array): RangeError {
  return wrongValue("bytes", `a message of at least ${expected} bytes, as its head says`, length);
}

function readHead(bytes: Uint8Array): { fields: object; arrays: [string, ArrayName, number][] } {
  try {
    const head = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as {
      fields: object;
      arrays: [string, ArrayName, number][];
    };
    checkObject("fields", head.fields);
    for (const [name, type, length] of head.arrays) {
      const isSound = typeof name === "string" && Object.hasOwn(ARRAYS, type) && Number.isSafeInteger(length);
      if (!isSound || length < 0) throw wrongKind("arrays", "[name, type, length]", name);
    }
    return head;
  } catch (cause) {
    throw new RangeError('"bytes" expected a message of heed/shard, got a head that cannot be read', { cause });
  }
}
