// Requests as nobody honest makes them, for the services among the examples: in this process and over HTTP.
import fc from "fast-check";

/** A request of which any host can make its own. */
export interface Sent {
  method: string;
  headers: Record<string, string>;
  body: string | Uint8Array<ArrayBuffer> | undefined;
}

/** A service: requests that it answers, and the fields of JSON that it knows. */
export interface Service {
  honest: readonly object[];
  fields: readonly string[];
}

export const attentionService: Service = {
  honest: [
    { tokens: ["to", "be", "or", "not", "to", "be"] },
    {
      q: [[1, 0, 0, 1]],
      k: [
        [1, 0, 0, 1],
        [0, 1, 1, 0],
      ],
      v: [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
      ],
      options: {
        ...{ numHeads: 2, numKvHeads: 2, headDim: 2, valueDim: 2, batch: 1, scale: 0.5, causal: true },
        ...{ queryOffset: 1, window: { left: 4, right: 0 }, softcap: 30 },
      },
    },
  ],
  fields: ["tokens", "q", "k", "v", "options", "numHeads", "headDim", "window", "left"],
};

export const poolService: Service = {
  honest: [
    {
      query: [1, 0],
      vectors: [
        [1, 0],
        [0, 1],
      ],
      temperature: 0.5,
    },
  ],
  fields: ["query", "vectors", "temperature"],
};

/** Stands in a value for text that JSON.stringify would not write. */
const RAW = "raw:";
const raw = (text: string): string => RAW + text;

/** The value as JSON, numbers beyond f64 included. */
export function toJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(new RegExp(`"${RAW}([^"]*)"`, "g"), "$1");
}

/** A value of each kind of JSON, and numbers that are infinite in f64 or f32. */
export const kinds: readonly unknown[] = [
  ...[null, true, "1", {}, { length: 1, 0: 1 }, { valueOf: 1 }, JSON.parse('{"__proto__": 1}') as unknown, [[[1]]]],
  ...[raw("1e999"), raw("-1e999"), raw("1e39"), raw("-3.5e38")],
];
export function kindOf(value: unknown): string {
  if (typeof value === "string" && value.startsWith(RAW)) return "infinite";
  return Array.isArray(value) ? "array" : value === null ? "null" : typeof value;
}

const numbers = [0, -0, 1, -1, 0.5, 1e-320, 3e38, -3e38, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 1, 2 ** 53, 1864113, 16777217];
const hostile = fc.oneof(
  fc.constantFrom(...kinds, ...numbers),
  fc.constantFrom("", "1", "NaN", "Infinity", "0x10", " ", "\0", "\ud800", "__proto__", "a".repeat(300)),
  fc.constantFrom(true, false, [], [[]], [[[1]]], [1, [2]], [null], ["1"], Array(300).fill(1), Array(300).fill([1])),
  fc.jsonValue({ maxDepth: 4 }),
);

/** Where something stands in a value. */
export type Path = readonly (string | number)[];

/** All paths in a value, its own left out. */
export function pathsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const at = [...path, Array.isArray(value) ? Number(key) : key];
    return [at, ...pathsOf(inner, at)];
  });
}

/** A copy of the value with another one at a path, or without what stands there. */
export function replaced(value: unknown, [first, ...rest]: Path, by: unknown): unknown {
  if (first === undefined) return by;
  if (Array.isArray(value))
    return value.map((inner, i) => (i === first ? replaced(inner, rest, by) : (inner as unknown)));
  return Object.fromEntries(
    Object.entries(value as object).flatMap(([key, inner]) => {
      if (key !== first) return [[key, inner]];
      const changed = replaced(inner, rest, by);
      return changed === undefined ? [] : [[key, changed]];
    }),
  );
}

/** A body that is nearly right: an honest one with some values replaced, taken away or added. */
function nearly({ honest, fields }: Service): fc.Arbitrary<unknown> {
  const change = fc.record({ at: fc.nat(), by: fc.option(hostile, { nil: undefined, freq: 9 }) });
  const addition = fc.option(fc.tuple(fc.constantFrom(...fields, "__proto__", "constructor", "lse", "out"), hostile), {
    freq: 1,
  });
  const drawn = fc.tuple(fc.constantFrom(...honest), fc.array(change, { minLength: 1, maxLength: 3 }), addition);
  return drawn.map(([body, changes, added]) => {
    let changed: unknown = body;
    for (const { at, by } of changes) {
      const paths = pathsOf(changed);
      if (paths.length > 0) changed = replaced(changed, paths[at % paths.length]!, by);
    }
    return added ? Object.fromEntries([...Object.entries(changed as object), added]) : changed;
  });
}

/** Bodies of large dims that cost few bytes, whatever they ask for. */
const large = fc
  .record({ rows: fc.nat(400), keys: fc.nat(400), dim: fc.nat(70), heads: fc.nat(40), values: fc.nat(70) })
  .map(({ rows, keys, dim, heads, values }) => {
    const of = (count: number, width: number) => Array.from({ length: count }, () => Array<number>(width).fill(1));
    return { q: of(rows, dim), k: of(keys, dim), v: of(keys, values), options: { numHeads: heads, numKvHeads: 1 } };
  });

/** Text that may be no JSON at all. */
const text = (service: Service): fc.Arbitrary<Sent["body"]> =>
  fc.oneof(
    { weight: 12, arbitrary: nearly(service).map(toJson) },
    { weight: 2, arbitrary: hostile.map(toJson) },
    { weight: 1, arbitrary: fc.json() },
    { weight: 1, arbitrary: fc.string({ unit: "binary" }) },
    { weight: 1, arbitrary: fc.uint8Array().map((bytes) => Uint8Array.from(bytes)) },
    { weight: 1, arbitrary: large.map(toJson) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        ...[
          "",
          "{",
          "[1,",
          "nul",
          "\ufeff{}",
          "[".repeat(1e5),
          '{"q":'.repeat(2e4),
          `{"tokens": [${'"",'.repeat(4e3)}""]}`,
        ],
        ...[`{"q": ${"[[0".repeat(9e4)}`, " ".repeat(3e5), "1".repeat(2e5), `"${"\\u0000".repeat(4e4)}"`],
      ),
    },
  );

/** Any request. */
export function requestsTo(service: Service): fc.Arbitrary<Sent> {
  const posts = fc.record({
    method: fc.constant("POST"),
    headers: fc.oneof(
      { weight: 9, arbitrary: fc.constant({}) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          ...[{ "content-type": "application/json; charset=utf-8" }, { "content-type": "APPLICATION/JSON" }],
          ...[{ "content-type": "image/png" }, { "content-type": "multipart/form-data; boundary=x" }],
          ...[{ "content-type": ";" }, { "content-encoding": "gzip" }, { accept: "image/png" }],
        ),
      },
    ),
    body: text(service),
  });
  const others = fc.record({
    method: fc.constantFrom("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"),
    headers: fc.constant({}),
    body: fc.constant(undefined),
  });
  return fc.oneof({ weight: 20, arbitrary: posts }, { weight: 1, arbitrary: others });
}

/** The statuses that a service may answer with. */
export const STATUSES: readonly number[] = [200, 204, 400, 405, 413, 415];
