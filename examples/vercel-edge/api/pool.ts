// Attention pooling. POST { "query": [numbers], "vectors": [[numbers], …], "temperature"? } and get { "pooled",
// "weights" }: the mean of the vectors, weighted by how well each matches the query, and these weights.
import { load } from "heed";

export const config = { runtime: "edge" };

export default async function pool(request: Request): Promise<Response> {
  if (request.method !== "POST") {
    return Response.json({ error: 'POST { "query", "vectors" }' }, { status: 405, headers: { allow: "POST" } });
  }
  const heed = await load();
  try {
    const { query, vectors, temperature = 1 } = (await request.json()) as Partial<Body>;
    if (!Array.isArray(query)) throw new TypeError('"query" expected an array of numbers');
    if (!Array.isArray(vectors)) throw new TypeError('"vectors" expected an array of arrays of numbers');
    const [q, k] = [Float32Array.from(query), Float32Array.from(vectors.flat())];
    const options = { numHeads: 1, headDim: q.length, scale: 1 / (temperature * Math.sqrt(q.length)) };
    const { out } = heed.attention(q, k, k, options);
    const { weights } = heed.attentionWeights(q, k, options);
    return Response.json({ pooled: Array.from(out), weights: Array.from(weights) });
  } catch (error) {
    return Response.json({ error: String(error) }, { status: 400 });
  } finally {
    heed.dispose();
  }
}

interface Body {
  query: number[];
  vectors: number[][];
  temperature: number;
}
