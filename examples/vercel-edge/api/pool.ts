// Attention pooling. POST { "query": [numbers], "vectors": [[numbers], …], "temperature"? } and get { "pooled",
// "weights" }: the mean of the vectors, weighted by how well each matches the query, and these weights.
import type { Heed } from "heed";
import { answer, checkDim, numbersOf, readFields, readFloats, readNumber, readRows } from "../request.ts";

export const config = { runtime: "edge" };

/** What one request may ask for, so that each takes milliseconds. */
const MOST_VECTORS = 4096;
const MOST_DIM = 4096;

export default function pool(request: Request): Promise<Response> {
  return answer(request, compute);
}

function compute(heed: Heed, body: unknown): unknown {
  const { query, vectors, temperature = 1 } = readFields("body", body, ["query", "vectors", "temperature"]);
  const q = readFloats("query", query, MOST_DIM);
  if (q.length === 0) throw new RangeError('"query" expected at least one number, got none');
  const rows = readRows("vectors", vectors, MOST_VECTORS, MOST_DIM);
  checkDim("vectors", rows, q.length, "as many as query");
  const scale = 1 / (readNumber("temperature", temperature, 1e-3, 1e3) * Math.sqrt(q.length));
  const options = { numHeads: 1, headDim: q.length, scale };
  const { out } = heed.attention(q, rows.data, rows.data, options);
  const { weights } = heed.attentionWeights(q, rows.data, options);
  return { pooled: numbersOf(out), weights: numbersOf(weights) };
}
