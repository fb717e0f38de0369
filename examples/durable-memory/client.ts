// How a program speaks with the Worker.
import { decode, encode } from "heed/shard";

/** What the Worker answers. */
export interface Outcome {
  length: number;
  /** Calls of shards, and bytes of the arrays that went there and back. */
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
