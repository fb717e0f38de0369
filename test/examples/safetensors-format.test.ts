// Files as examples/safetensors may meet them: every dtype, every place, and everything that can be wrong with one.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { withFile } from "../../examples/safetensors/file.ts";
import { bytesSource, readHeader } from "../../examples/safetensors/format.ts";
import { readTensors } from "../../examples/safetensors/layers.ts";
import { runs } from "../support/sweep.ts";

const folder = mkdtempSync(join(tmpdir(), "heed-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file of a header as text and the bytes behind it; `length` is what it says of the header. */
function fileOf(header: string, data: ArrayBufferView = new Uint8Array(), length = BigInt(Buffer.byteLength(header))) {
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length);
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(Buffer.concat([start, Buffer.from(header), bytes]));
}

/** A file of one tensor "x". */
const oneOf = (dtype: string, data: ArrayBufferView, shape = [data.byteLength / 2]) =>
  fileOf(JSON.stringify({ x: { dtype, shape, data_offsets: [0, data.byteLength] } }), data);

describe("dtypes", () => {
  it.each(["F16", "BF16"])("reads %s as it is", (dtype) => {
    const all = Uint16Array.from({ length: 65536 }, (_, half) => half);
    expect(readTensors(oneOf(dtype, all)).get("x")).toEqual({ data: all, dtype, shape: [65536] });
  });

  it("reads f64, rounded, and refuses what f32 has not", () => {
    const file = (x: number) => oneOf("F64", Float64Array.of(x), [1]);
    expect(readTensors(file(1 / 3)).get("x")!.data).toEqual(Float32Array.of(1 / 3));
    expect(readTensors(file(-Infinity)).get("x")!.data).toEqual(Float32Array.of(-Infinity));
    expect(() => readTensors(file(1e39))).toThrow(/"x" has 1e\+39, which f32 has not/);
  });

  it("reads more than one piece", () => {
    const doubles = Float64Array.from({ length: 300_001 }, (_, i) => i / 4);
    const { data } = readTensors(oneOf("F64", doubles, [doubles.length])).get("x")!;
    expect(data).toEqual(new Float32Array(doubles));
  });

  it("leaves out what is no float", () => {
    const header = {
      bool: { dtype: "BOOL", shape: [1], data_offsets: [0, 1] },
      f8: { dtype: "F8_E4M3", shape: [1], data_offsets: [1, 2] },
      i64: { dtype: "I64", shape: [], data_offsets: [2, 10] },
      f4: { dtype: "F4", shape: [4], data_offsets: [10, 12] },
      c64: { dtype: "C64", shape: [1], data_offsets: [12, 20] },
      w: { dtype: "F32", shape: [1], data_offsets: [20, 24] },
    };
    const data = Buffer.concat([Buffer.alloc(20), Buffer.from(Float32Array.of(5).buffer)]);
    const file = fileOf(JSON.stringify(header), data);
    expect([...readHeader(bytesSource(file)).keys()]).toEqual(Object.keys(header));
    expect([...readTensors(file)]).toEqual([["w", { data: Float32Array.of(5), shape: [1] }]]);
  });
});

describe("places", () => {
  it.each([
    ["F32", Float32Array.of(7, 8), {}],
    ["F16", Uint16Array.of(0x3c00, 0xffff), { dtype: "F16" }],
    ["BF16", Uint16Array.of(0x3f80, 0x7fc1), { dtype: "BF16" }],
    ["F64", Float64Array.of(7, 8), {}],
  ])("reads tensors of %s wherever they stand", (dtype, values, also) => {
    const data = dtype === "F64" ? new Float32Array(values) : values;
    const tensor = { data, shape: [2], ...also };
    // Behind 0 to 8 bytes of another tensor, behind headers of any length, and inside a larger buffer.
    for (let before = 0; before <= 8; before++) {
      for (let padding = 0; padding < 8; padding++) {
        const header = JSON.stringify({
          b: { dtype, shape: [2], data_offsets: [before, before + values.byteLength] },
          a: { dtype: "U8", shape: [before], data_offsets: [0, before] },
        });
        const file = fileOf(
          header + " ".repeat(padding),
          Buffer.concat([Buffer.alloc(before), Buffer.from(values.buffer)]),
        );
        expect(readTensors(file).get("b")).toEqual(tensor);
        const inside = Buffer.concat([Buffer.alloc(padding), file, Buffer.alloc(5)]).subarray(padding, -5);
        expect(readTensors(inside).get("b")).toEqual(tensor);
      }
    }
  });

  it("reads empty tensors, scalars and empty files", () => {
    const header = {
      none: { dtype: "F32", shape: [0, 5], data_offsets: [4, 4] },
      scalar: { dtype: "F32", shape: [], data_offsets: [0, 4] },
    };
    const tensors = readTensors(fileOf(JSON.stringify(header), Float32Array.of(3)));
    expect(tensors.get("none")).toEqual({ data: new Float32Array(), shape: [0, 5] });
    expect(tensors.get("scalar")).toEqual({ data: Float32Array.of(3), shape: [] });
    expect(readTensors(fileOf("{}")).size).toBe(0);
    expect(readTensors(fileOf('{"__metadata__": {"format": "pt"}}')).size).toBe(0);
  });

  it("takes any name", () => {
    for (const name of ["__proto__", "constructor", "", 'a"b', "\n", "é😀", "data_offsets"]) {
      const header = `{${JSON.stringify(name)}: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}`;
      expect(readTensors(fileOf(header, Float32Array.of(2))).get(name)!.data).toEqual(Float32Array.of(2));
    }
    expect(({} as { dtype?: unknown }).dtype).toBeUndefined();
  });

  it("reads of a file on disk the tensors that are asked for, and no more", () => {
    const path = join(folder, "two.safetensors");
    const header = {
      "a.w": { dtype: "F32", shape: [2], data_offsets: [0, 8] },
      "b.w": { dtype: "BF16", shape: [1], data_offsets: [8, 10] },
    };
    writeFileSync(path, fileOf(JSON.stringify(header), Buffer.concat([Buffer.alloc(8), Buffer.of(0x80, 0x3f)])));
    withFile(path, (source) => {
      let read = 0;
      const counted = {
        ...source,
        read: (...[into, at]: Parameters<typeof source.read>) => {
          read += into.length;
          source.read(into, at);
        },
      };
      expect([...readTensors(counted, "b.")]).toEqual([
        ["b.w", { data: Uint16Array.of(0x3f80), dtype: "BF16", shape: [1] }],
      ]);
      expect(read).toBe(source.size - 8);
    });
  });
});

describe("what is no such file", () => {
  const tensor = (more: object) => JSON.stringify({ x: { dtype: "F32", shape: [1], data_offsets: [0, 4], ...more } });
  const four = Float32Array.of(1);
  const pair = (a: [number, number], b: [number, number]) =>
    fileOf(
      JSON.stringify({
        a: { dtype: "U8", shape: [a[1] - a[0]], data_offsets: a },
        b: { dtype: "U8", shape: [b[1] - b[0]], data_offsets: b },
      }),
      new Uint8Array(8),
    );

  const wrong: [string, Uint8Array, string | RegExp][] = [
    ["nothing", new Uint8Array(), "it has 0 bytes, and the length of its header takes 8"],
    ["seven bytes", new Uint8Array(7), "it has 7 bytes, and the length of its header takes 8"],
    ["a header beyond the end", fileOf("{}", undefined, 3n), "its header would have 3 bytes, and 2 follow"],
    ["2^63", fileOf("{}", undefined, 2n ** 63n), "its header would have 9223372036854775808 bytes, and 2 follow"],
    [
      "2^64 - 1",
      fileOf("{}", undefined, 2n ** 64n - 1n),
      "its header would have 18446744073709551615 bytes, and 2 follow",
    ],
    ["no header", fileOf("", four), /^its header is no JSON: /],
    ["no JSON", fileOf("{,}"), /^its header is no JSON: /],
    ["no UTF-8", fileOf("{}", Uint8Array.of(0xff), 3n), /^its header is no JSON: .*utf-8/],
    ["null", fileOf("null"), "its header is no JSON object"],
    ["an array", fileOf("[]"), "its header is no JSON object"],
    ["a number", fileOf("7"), "its header is no JSON object"],
    ["null for a tensor", fileOf('{"x": null}'), '"x" is no object with dtype, shape and data_offsets'],
    ["an array for a tensor", fileOf('{"x": []}'), '"x" is no object with dtype, shape and data_offsets'],
    ["metadata of numbers", fileOf('{"__metadata__": {"a": 1}}'), "its __metadata__ is no object of strings"],
    ["null for metadata", fileOf('{"__metadata__": null}'), "its __metadata__ is no object of strings"],
    ["an unknown dtype", fileOf(tensor({ dtype: "Q4" }), four), '"x" has the dtype "Q4", which the format has not'],
    [
      "dtype of another case",
      fileOf(tensor({ dtype: "f32" }), four),
      '"x" has the dtype "f32", which the format has not',
    ],
    ["no dtype", fileOf(tensor({ dtype: undefined }), four), '"x" has the dtype undefined, which the format has not'],
    ["a dtype of a prototype", fileOf(tensor({ dtype: "constructor" }), four), /which the format has not$/],
    ["no shape", fileOf(tensor({ shape: undefined }), four), '"x" has the shape undefined'],
    ["a shape of strings", fileOf(tensor({ shape: ["1"] }), four), '"x" has the shape ["1"]'],
    ["a negative shape", fileOf(tensor({ shape: [-1, -1] }), four), '"x" has the shape [-1,-1]'],
    ["half a row", fileOf(tensor({ shape: [0.5, 2] }), four), '"x" has the shape [0.5,2]'],
    ["no offsets", fileOf(tensor({ data_offsets: undefined }), four), '"x" has the data_offsets undefined'],
    ["three offsets", fileOf(tensor({ data_offsets: [0, 4, 8] }), four), '"x" has the data_offsets [0,4,8]'],
    ["offsets of strings", fileOf(tensor({ data_offsets: ["0", "4"] }), four), '"x" has the data_offsets ["0","4"]'],
    ["a negative offset", fileOf(tensor({ data_offsets: [-4, 0] }), four), '"x" has the data_offsets [-4,0]'],
    [
      "offsets turned round",
      fileOf(tensor({ data_offsets: [4, 0] }), four),
      '"x" stands at bytes 4 to 0 of the 4 that follow the header',
    ],
    [
      "an end beyond the file",
      fileOf(tensor({ data_offsets: [0, 8], shape: [2] }), four),
      '"x" stands at bytes 0 to 8 of the 4 that follow the header',
    ],
    [
      "an end of 2^53",
      fileOf(tensor({ data_offsets: [0, 2 ** 53 - 1] }), four),
      /^"x" stands at bytes 0 to 9007199254740991 of the 4/,
    ],
    [
      "a shape of other bytes",
      fileOf(tensor({ shape: [2] }), four),
      '"x": F32 of shape [2] takes 8 bytes, and its data_offsets give 4',
    ],
    [
      "a shape that wraps",
      fileOf(tensor({ shape: [2 ** 32, 2 ** 32] }), four),
      /^"x": F32 of shape \[4294967296, 4294967296\] takes 7\d+ bytes/,
    ],
    [
      "half a byte",
      fileOf(tensor({ dtype: "F4", shape: [9] }), four),
      '"x": F4 of shape [9] takes 4.5 bytes, and its data_offsets give 4',
    ],
    ["a name twice", fileOf(`{"a": {}, "\\u0061": {}}`), 'its header has the key "a" twice'],
    ["a dtype twice", fileOf('{"x": {"dtype": "F32", "dtype" : "F16"}}'), 'its header has the key "dtype" twice'],
    ["two in one place", pair([0, 4], [0, 4]), '"b" begins at byte 0, inside "a"'],
    ["an overlap", pair([0, 5], [4, 8]), '"b" begins at byte 4, inside "a"'],
    ["a hole", pair([0, 3], [4, 8]), 'bytes 3 to 4, before "b", belong to no tensor'],
    ["a start", pair([1, 4], [4, 8]), 'bytes 0 to 1, before "a", belong to no tensor'],
    ["an end", pair([0, 4], [4, 7]), "bytes 7 to 8, at its end, belong to no tensor"],
  ];

  it.each(wrong)("%s", (_, file, why) => {
    const message = (error: unknown) => (error as Error).message.replace("the file is no safetensors file: ", "");
    let said = "";
    try {
      readTensors(file);
    } catch (error) {
      said = message(error);
    }
    if (typeof why === "string") expect(said).toBe(why);
    else expect(said).toMatch(why);
  });

  it("takes the same key in two tensors, and in text", () => {
    const header = {
      __metadata__: { a: '{"b": 1, "b": 2}', b: "a" },
      a: { dtype: "U8", shape: [0], data_offsets: [0, 0] },
      b: { dtype: "U8", shape: [0], data_offsets: [0, 0] },
    };
    expect(readHeader(bytesSource(fileOf(JSON.stringify(header)))).size).toBe(2);
  });

  it("whatever is changed in one, it is read or refused by an Error with a sentence", () => {
    const good = oneOf("F16", Uint16Array.of(1, 2), [2]);
    const change = fc.record({ at: fc.nat(good.length - 1), by: fc.nat(255) });
    const changed = fc.property(
      fc.array(change, { minLength: 1, maxLength: 3 }),
      fc.nat(good.length),
      (changes, length) => {
        const file = good.slice(0, length % 3 === 0 ? length : good.length);
        for (const { at, by } of changes) if (at < file.length) file[at] = by;
        try {
          for (const { data, shape } of readTensors(file).values()) {
            expect(data).toHaveLength(shape.reduce((product, dim) => product * dim, 1));
          }
        } catch (error) {
          expect((error as Error).message).toMatch(/^the file is no safetensors file: \S/);
        }
      },
    );
    fc.assert(changed, { seed: 20261203, numRuns: runs(20_000) });
  });
});

describe("the command", () => {
  const run = (file: string | Uint8Array) => {
    const path = typeof file === "string" ? file : join(folder, "given");
    if (typeof file !== "string") writeFileSync(path, file);
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ["build/safetensors.js", "--file", path, "--heads", "2"],
      { encoding: "utf8" },
    );
    return { status, stdout, stderr: stderr.replaceAll(path, "PATH") };
  };

  it.each<[string, string | Uint8Array, string]>([
    ["a folder", folder, 'cannot read "PATH": it is a directory'],
    ["no file", join(folder, "none"), 'cannot read "PATH": no such file'],
    ["a null header", fileOf("null"), "PATH is no safetensors file: its header is no JSON object"],
    ["no layer", fileOf("{}"), "PATH has no attention layer whose names are known"],
    [
      "a layer of integers",
      fileOf('{"a.q_proj.weight": {"dtype": "I8", "shape": [1, 1], "data_offsets": [0, 1]}}', new Uint8Array(1)),
      "PATH has attention layers of I8, and F32, F16, BF16, F64 are read",
    ],
    [
      "a name that steers terminals",
      fileOf('{"\\u001b[2J": {"dtype": "F7"}}'),
      'PATH is no safetensors file: "\\u001b[2J" has the dtype "F7", which the format has not',
    ],
  ])("says in one line what is wrong with %s", (_, file, message) => {
    expect(run(file)).toEqual({ status: 1, stdout: "", stderr: `${message}\n` });
  });
});
