import { load } from "heed";
import { runCases } from "../cases.js";

export default {
  /**
   * /cases: the report. /keys/N: one query of 12 heads against N keys; /tokens/N: N queries; /cache/N: a cache of N
   * tokens, as examples/durable-memory stores them; 413 where that does not fit.
   * @param {Request} request
   */
  async fetch(request) {
    const [, route, count] = new URL(request.url).pathname.split("/");
    if (route === "cases") return Response.json(await runCases());
    const heed = await load();
    try {
      if (route === "cache") {
        const cache = heed.createKvCache({ numKvHeads: 8, headDim: 64, dtype: "f16", capacity: Number(count) });
        const rows = new Float32Array(1000 * 8 * 64);
        while (cache.length < Number(count)) cache.append(rows, rows);
        return Response.json({ length: cache.length });
      }
      const rows = new Float32Array(Number(count) * 12 * 64).fill(0.5);
      const q = route === "keys" ? rows.subarray(0, 12 * 64) : rows;
      const { out } = heed.attention(q, rows, rows, { numHeads: 12, headDim: 64 });
      return Response.json({ first: out[0] });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return Response.json({ error: error.message }, { status: 413 });
    } finally {
      heed.dispose();
    }
  },
};
