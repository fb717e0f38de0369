// The least that a Worker with heed is, for its size.
import { load } from "heed";

export default {
  async fetch() {
    const heed = await load();
    const x = new Float32Array(128 * 12 * 64).fill(0.5);
    const { out } = heed.attention(x, x, x, { numHeads: 12, headDim: 64 });
    heed.dispose();
    return new Response(String(out[0]));
  },
};
