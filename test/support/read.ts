import { load } from "heed";
import { type Attended, attended } from "../../examples/read/findings.ts";
import { HEADS, HEAD_DIM, buildHeads } from "../../examples/read/heads.ts";
import { tokenLabel } from "../../examples/read/tokens.ts";

/** What the four heads of examples/read make of some tokens. */
export async function attend(tokens: number[]): Promise<Attended> {
  const built = buildHeads(tokens);
  const { q, k, v, alibiSlopes, sinks } = built;
  const heed = await load();
  try {
    const shape = { numHeads: HEADS.length, headDim: HEAD_DIM };
    const answer = heed.attention(q, k, v, { ...shape, scale: 1, causal: true, alibiSlopes, sinks, lse: true });
    return attended(tokens, tokens.map(tokenLabel), built, answer);
  } finally {
    heed.dispose();
  }
}
