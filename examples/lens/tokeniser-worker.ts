// Tokenises in a worker: the 200,000 tokens of the vocabulary take longer to set up than a page may stand still.
import { tokenise, tokenLabel } from "../read/tokens.ts";

export interface Request {
  id: number;
  text: string;
  limit: number;
}

/** `tokens` with their `labels`, and where each `ends` in the text, in UTF-16 units. */
export interface Reply {
  id: number;
  tokens: number[];
  labels: string[];
  ends: number[];
  covered: number;
}

addEventListener("message", ({ data }: MessageEvent<Request>) => {
  const { tokens, ends, covered } = tokenise(data.text, data.limit);
  postMessage({ id: data.id, tokens, labels: tokens.map(tokenLabel), ends, covered } satisfies Reply);
});
