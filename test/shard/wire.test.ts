// Messages as bytes: the same message comes back, and bytes that are no message are refused by name.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decode, encode } from "../../bindings/shard/index.ts";

const value = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.float32Array({ maxLength: 9 }),
  fc.uint8Array({ maxLength: 9 }),
);
// JSON has no −0.
const hasNegativeZero = (x: unknown) =>
  JSON.stringify(x, (_, inner: unknown) => (Object.is(inner, -0) ? "−0" : inner)).includes("−0");
const message = fc
  .dictionary(fc.string(), value, { maxKeys: 6 })
  .filter((made) => !Object.values(made).some((inner) => !ArrayBuffer.isView(inner) && hasNegativeZero(inner)));

/** A view of the bytes at an odd address. */
function shifted(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(bytes.length + 3);
  buffer.set(bytes, 1);
  return buffer.subarray(1, 1 + bytes.length);
}

it("brings a message back, from bytes at any address", () => {
  const property = fc.property(message, (made) => {
    const bytes = encode(made);
    expect(bytes.length % 4).toBe(0);
    expect(decode(bytes)).toEqual({ ...made });
    expect(decode(shifted(bytes))).toEqual({ ...made });
    for (const given of Object.values(decode(bytes))) {
      if (ArrayBuffer.isView(given)) expect(given.buffer).not.toBe(bytes.buffer);
    }
  });
  fc.assert(property, { seed: 4, numRuns: 300 });
});

it("keeps the bits of NaN, −0 and −Infinity in arrays", () => {
  const bits = Uint32Array.of(0x7fc01234, 0x80000000, 0xff800000, 1);
  const { lse } = decode(encode({ lse: new Float32Array(bits.buffer) })) as { lse: Float32Array };
  expect([...new Uint32Array(lse.buffer)]).toEqual([...bits]);
});

it("is little-endian, and the same each time", () => {
  const head = '{"fields":{"op":"attend"},"arrays":[["q","Float32Array",1]]}';
  const expected = [
    ...new TextEncoder().encode("hshd"),
    ...[1, 0, 0, 0],
    ...[head.length, 0, 0, 0],
    ...new TextEncoder().encode(head),
    ...[0, 0, 0x80, 0x3f],
  ];
  expect(head.length % 4).toBe(0);
  expect([...encode({ op: "attend", q: Float32Array.of(1) })]).toEqual(expected);
});

describe("bytes that are no message", () => {
  const good = encode({ op: "append", k: Float32Array.of(1, 2, 3), v: Uint8Array.of(1, 2, 3) });

  it("are refused where they are cut short, or longer", () => {
    for (let length = 0; length < good.length; length++) {
      expect(() => decode(good.slice(0, length))).toThrow(/^"bytes" expected a message/);
    }
    expect(() => decode(Uint8Array.of(...good, 0))).toThrow(
      /^"bytes" expected a message of \d+ bytes, as its head says/,
    );
  });

  it("are refused where they are of another kind or version", () => {
    const changed = (at: number, to: number) => good.map((byte, n) => (n === at ? to : byte));
    expect(() => decode(changed(0, 0))).toThrow('"bytes" expected a message of heed/shard, got other bytes');
    expect(() => decode(changed(4, 2))).toThrow('"bytes" expected a message of version 1, got 2');
    expect(() => decode(changed(12, 0))).toThrow("got a head that cannot be read");
    expect(() => decode([1] as never)).toThrow(TypeError);
    expect(() => encode(5 as never)).toThrow('"message" expected an object, got 5');
  });

  it("are refused, or give some message, whatever bit is wrong", () => {
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bytes = good.slice();
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      try {
        decode(bytes);
      } catch (error) {
        expect((error as Error).message).toMatch(/^"bytes" expected/);
      }
    }
  });

  it.each([
    '{"fields":{},"arrays":[["x","Float32Array",1e9]]}',
    '{"fields":{},"arrays":[["x","Float32Array",-1]]}',
    '{"fields":{},"arrays":[["x","Float64Array",0]]}',
    '{"fields":{},"arrays":[[1,"Float32Array",0]]}',
    '{"fields":{},"arrays":[null]}',
    '{"fields":null,"arrays":[]}',
    '{"fields":{}}',
    "[]",
    "null",
  ])("are refused with the head %s", (head) => {
    const text = new TextEncoder().encode(head.padEnd(Math.ceil(head.length / 4) * 4));
    const bytes = new Uint8Array(12 + text.length);
    bytes.set(good.subarray(0, 8));
    new DataView(bytes.buffer).setUint32(8, text.length, true);
    bytes.set(text, 12);
    expect(() => decode(bytes)).toThrow(/^"bytes" expected/);
  });
});
