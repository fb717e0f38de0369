// Attention as a service. POST one of
//   { "q": rows, "k": rows, "v": rows, "options": { "numHeads": 2, "causal": true, … } }
//   { "tokens": ["to", "be", "or", "not", "to", "be"] }
// and get { "out": rows }, or { "weights": rows } that say how much each token attends to each.
// Rows are arrays of numbers, one row a token.
import { type AttentionOptions, type Heed, loadSync } from "heed";

/** One instance for all requests of an isolate. The Worker brings the module compiled, so loading is synchronous. */
let heed: Heed | undefined;

export default {
  async fetch(request: Request): Promise<Response> {
    if (request.method !== "POST") {
      return Response.json(
        { error: 'POST { "q", "k", "v", "options"? } or { "tokens" }' },
        { status: 405, headers: { allow: "POST" } },
      );
    }
    try {
      const body: unknown = await request.json();
      if (typeof body !== "object" || body === null) throw new TypeError('"body" expected an object');
      heed ??= loadSync();
      return Response.json("tokens" in body ? { weights: weightsOf(heed, body.tokens) } : { out: attend(heed, body) });
    } catch (error) {
      // heed's errors name the argument, what was expected and what came, so the caller gets the message.
      if (error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError) {
        return Response.json({ error: error.message }, { status: 400 });
      }
      throw error;
    }
  },
};

interface Body {
  q?: unknown;
  k?: unknown;
  v?: unknown;
  options?: Partial<AttentionOptions>;
}

function attend(heed: Heed, { q, k, v, options = {} }: Body): number[][] {
  const [qs, ks, vs] = [pack("q", q), pack("k", k), pack("v", v)];
  const { numHeads = 1, numKvHeads = numHeads } = options;
  const dims = { numHeads, headDim: qs.dim / numHeads, valueDim: vs.dim / numKvHeads };
  const { out } = heed.attention(qs.data, ks.data, vs.data, { ...dims, ...options, out: undefined });
  return unpack(out, qs.rows);
}

function weightsOf(heed: Heed, tokens: unknown): number[][] {
  if (!Array.isArray(tokens)) throw new TypeError('"tokens" expected an array of strings');
  const embedded = Float32Array.from(tokens.flatMap((token) => embed(String(token))));
  const { weights } = heed.attentionWeights(embedded, embedded, { numHeads: 1, headDim: 64, scale: 8 });
  return unpack(weights, tokens.length);
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

function pack(name: string, rows: unknown): { data: Float32Array; rows: number; dim: number } {
  if (!Array.isArray(rows) || !rows.every((row) => Array.isArray(row))) {
    throw new TypeError(`"${name}" expected an array of rows`);
  }
  const dim = rows[0]?.length ?? 0;
  if (!rows.every((row) => row.length === dim)) throw new RangeError(`"${name}" expected rows of ${dim} numbers`);
  return { data: Float32Array.from((rows as number[][]).flat()), rows: rows.length, dim };
}

function unpack(data: Float32Array, rows: number): number[][] {
  const dim = data.length / Math.max(1, rows);
  return Array.from({ length: rows }, (_, i) => Array.from(data.subarray(i * dim, (i + 1) * dim)));
}
