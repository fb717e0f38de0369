// Attention as a service. POST one of
//   { "q": rows, "k": rows, "v": rows, "options": { "numHeads": 2, "causal": true, … } }
//   { "tokens": ["to", "be", "or", "not", "to", "be"] }
// and get { "out": rows }, or { "weights": rows } that say how much each token attends to each.
// Rows are arrays of numbers, one row a token.
import type { AttentionOptions, Heed } from "heed";
import {
  answer,
  checkAnswer,
  checkDim,
  numbersOf,
  readArray,
  readBoolean,
  readFields,
  readInteger,
  readNumber,
  readRows,
  readString,
  type Rows,
} from "./request.ts";

/** What one request may ask for, so that each takes milliseconds. */
const MOST_ROWS = 256;
/** Numbers in a row, all heads together. */
const MOST_DIM = 4096;
const MOST_HEADS = 32;
const MOST_TOKENS = 128;
/** UTF-16 units of a token. */
const MOST_LETTERS = 64;

/** Options that change no size. */
const SETTINGS = ["scale", "causal", "queryOffset", "window", "softcap"] as const;
type Setting = (typeof SETTINGS)[number];

export default {
  fetch: (request: Request): Promise<Response> => answer(request, compute),
};

function compute(heed: Heed, body: unknown): unknown {
  const isText = typeof body === "object" && body !== null && "tokens" in body;
  return isText ? { weights: weightsOf(heed, body) } : { out: attend(heed, body) };
}

function attend(heed: Heed, body: unknown): number[][] {
  const { q, k, v, options = {} } = readFields("body", body, ["q", "k", "v", "options"]);
  const names = ["numHeads", "numKvHeads", "headDim", "valueDim", "batch", ...SETTINGS] as const;
  const given = readFields("options", options, names);
  const { numHeads = 1, numKvHeads = numHeads, batch = 1 } = given;
  const heads = readInteger("numHeads", numHeads, 1, MOST_HEADS);
  const kvHeads = readInteger("numKvHeads", numKvHeads, 1, heads);

  const [qs, ks, vs] = [rowsIn("q", q), rowsIn("k", k), rowsIn("v", v)];
  const { headDim = qs.dim / heads } = given;
  const qkDim = readInteger("headDim", headDim, 1, MOST_DIM);
  const { valueDim = vs.rows === 0 ? qkDim : vs.dim / kvHeads } = given;
  const vDim = readInteger("valueDim", valueDim, 1, MOST_DIM);
  checkDim("q", qs, heads * qkDim, "numHeads × headDim");
  checkDim("k", ks, kvHeads * qkDim, "numKvHeads × headDim");
  checkDim("v", vs, kvHeads * vDim, "numKvHeads × valueDim");
  checkAnswer(qs.rows * heads * vDim);

  const shape = { numHeads: heads, numKvHeads: kvHeads, headDim: qkDim, valueDim: vDim };
  const batches = readInteger("batch", batch, 1, MOST_ROWS);
  const { out } = heed.attention(qs.data, ks.data, vs.data, { ...shape, batch: batches, ...settingsOf(given) });
  return rowsOf(out, qs.rows);
}

function rowsIn(title: string, value: unknown): Rows {
  return readRows(title, value, MOST_ROWS, MOST_DIM);
}

/** Those that are given, checked. */
function settingsOf(given: Partial<Record<Setting, unknown>>): Pick<AttentionOptions, Setting> {
  const settings: Pick<AttentionOptions, Setting> = {};
  const { scale, causal, queryOffset, window, softcap } = given;
  if (scale !== undefined) settings.scale = readNumber("scale", scale, -1e6, 1e6);
  if (causal !== undefined) settings.causal = readBoolean("causal", causal);
  if (queryOffset !== undefined) settings.queryOffset = readInteger("queryOffset", queryOffset, -1e6, 1e6);
  if (softcap !== undefined) settings.softcap = readNumber("softcap", softcap, 1e-6, 1e6);
  if (window !== undefined) {
    const { left = 1e6, right = 1e6 } = readFields("window", window, ["left", "right"]);
    settings.window = {
      left: readInteger("window.left", left, 0, 1e6),
      right: readInteger("window.right", right, 0, 1e6),
    };
  }
  return settings;
}

function weightsOf(heed: Heed, body: unknown): number[][] {
  const { tokens } = readFields("body", body, ["tokens"]);
  const words = readArray("tokens", tokens, "strings", MOST_TOKENS).map((token, i) =>
    readString(`tokens[${i}]`, token, MOST_LETTERS),
  );
  checkAnswer(words.length ** 2);
  const embedded = Float32Array.from(words.flatMap(embed));
  const { weights } = heed.attentionWeights(embedded, embedded, { numHeads: 1, headDim: 64, scale: 8 });
  return rowsOf(weights, words.length);
}

/** A unit vector of 64 floats; tokens with letter pairs in common get similar ones. */
function embed(token: string): number[] {
  const vector = new Array<number>(64).fill(0);
  const text = `^${token.toLowerCase()}$`;
  for (let i = 0; i + 1 < text.length; i++) {
    vector[(text.charCodeAt(i) * 31 + text.charCodeAt(i + 1) * 17) % 64]! += 1;
  }
  const norm = Math.hypot(...vector);
  return vector.map((x) => x / norm);
}

function rowsOf(data: Float32Array, rows: number): number[][] {
  const numbers = numbersOf(data);
  const dim = numbers.length / Math.max(1, rows);
  return Array.from({ length: rows }, (_, i) => numbers.slice(i * dim, (i + 1) * dim));
}
