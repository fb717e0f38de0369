// How a program speaks with the Worker.
import { decode, encode } from "heed/shard";

/** What the Worker answers. */
export interface Outcome {
  length: number;
  calls: number;
  bytes: number;
  out?: Float32Array;
  lse?: Float32Array;
}

/** Sends a message to a conversation. Throws an Error that says what was wrong. */
export async function send(url: string, message: object): Promise<Outcome> {
  const response = await fetch(url, { method: "POST", body: encode(message) });
  if (!response.ok) throw new Error(`${response.status}: ${((await response.json()) as { error: string }).error}`);
  return decode(new Uint8Array(await response.arrayBuffer())) as unknown as Outcome;
}

/** Rows of tokens from a position on: [tokens, heads, dim], of variance 1, the same at each run. */
export function rows(tokens: number, width: number, position: number, seed: number): Float32Array {
  return Float32Array.from({ length: tokens * width }, (_, i) => {
    const n = Math.imul(position * width + i + 1, 0x9e3779b1) ^ Math.imul(seed, 0x85ebca6b);
    const mixed = Math.imul(n ^ (n >>> 15), 0x2c1b3c6d);
    return (((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 31 - 1) * Math.sqrt(3);
  });
}
