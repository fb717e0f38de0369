// A memory of many thousands of tokens, cut over Durable Objects. POST /NAME one message of heed/shard,
//   { op: "append", k, v }            k and v: [tokens, NUM_KV_HEADS, HEAD_DIM]
//   { op: "attend", q, numHeads, … }  q: [rows, numHeads, HEAD_DIM]
//   { op: "truncate", length }
// and get { length, calls, bytes } and for "attend" also { out, lse }. GET /NAME says what each object has.
import { DurableObject, type DurableObjectNamespace } from "cloudflare:workers";
import { loadSync } from "heed";
import {
  type Call,
  Shard,
  ShardError,
  type ShardedAttentionOptions,
  ShardedCache,
  type ShardAnswer,
  type ShardRequest,
  decode,
  encode,
} from "heed/shard";
import type { Outcome } from "./client.ts";
import { SqliteStore } from "./sqlite-store.ts";

// A Worker may export nothing but handlers and classes.
const PLACES = 8;
const NUM_KV_HEADS = 8;
const HEAD_DIM = 64;
const SIZES = { numKvHeads: NUM_KV_HEADS, headDim: HEAD_DIM, dtype: "f16", capacity: 200_000 } as const;
/** Bytes of a request. What is larger is to come in several. */
const MOST_BYTES = 16_000_000;

export interface Env {
  CONVERSATIONS: DurableObjectNamespace<Conversation>;
  SHARDS: DurableObjectNamespace<MemoryShard>;
}

/** One place of a conversation: its pages in memory while it is in use, and in its SQLite at all times. */
export class MemoryShard extends DurableObject<Env> {
  readonly #heed = loadSync();
  readonly #shard = new Shard(this.#heed, { store: new SqliteStore(this.ctx.storage) });

  handle(request: ShardRequest): Promise<ShardAnswer> {
    return this.#shard.handle(request);
  }

  /** Tokens that stand here, bytes of linear memory, and bytes on disk. */
  async stand(): Promise<{ length: number; memory: number; stored: number; largest: number }> {
    const { length } = await this.#shard.state();
    const [sizes] = this.ctx.storage.sql.exec(
      "SELECT COALESCE(SUM(LENGTH(bytes)), 0) AS stored, COALESCE(MAX(LENGTH(bytes)), 0) AS largest FROM pieces",
    );
    const { stored, largest } = sizes as { stored: number; largest: number };
    return { length, memory: this.#heed.memory.reserved, stored, largest };
  }
}

/** The coordinator of a conversation. It holds no tokens, and may be evicted like every object. */
export class Conversation extends DurableObject<Env> {
  readonly #heed = loadSync();
  #cache: Promise<ShardedCache> | undefined;
  #calls = 0;
  #bytes = 0;

  /** Carries a message out. */
  async carryOut({ op, ...message }: Record<string, unknown>): Promise<Outcome> {
    const [calls, bytes] = [this.#calls, this.#bytes];
    const cache = await this.#open();
    let result = {};
    try {
      if (op === "append") await cache.append(message["k"] as Float32Array, message["v"] as Float32Array);
      else if (op === "truncate") await cache.truncate(message["length"] as number);
      else if (op === "attend") {
        const { q, ...options } = message;
        result = await cache.attention(q as Float32Array, options as unknown as ShardedAttentionOptions);
      } else throw new RangeError('"op" expected "append", "attend" or "truncate"');
    } catch (error) {
      // Who was overtaken opens again: the next request finds what is there.
      if (error instanceof ShardError) this.#cache = undefined;
      throw error;
    }
    return { ...result, length: cache.length, calls: this.#calls - calls, bytes: this.#bytes - bytes };
  }

  /** What each place has. */
  stand(): Promise<Awaited<ReturnType<MemoryShard["stand"]>>[]> {
    return Promise.all(Array.from({ length: PLACES }, (_, place) => this.#shard(place).stand()));
  }

  #open(): Promise<ShardedCache> {
    const calls = Array.from({ length: PLACES }, (_, place): Call => async (request) => {
      // A stub is of no use any more once its object was evicted in a call: each call takes a new one.
      const answer = await this.#shard(place).handle(request);
      this.#calls++;
      this.#bytes += bytesOf(request) + bytesOf(answer);
      return answer;
    });
    this.#cache ??= ShardedCache.open(this.#heed, calls, SIZES);
    this.#cache.catch(() => (this.#cache = undefined));
    return this.#cache;
  }

  #shard(place: number): MemoryShard {
    return this.env.SHARDS.getByName(`${this.ctx.id.name ?? ""}/${place}`);
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (!/^[\w-]{1,60}$/.test(name)) return refuse(404, "a path expected is /NAME, of letters and digits");
    const conversation = env.CONVERSATIONS.getByName(name);
    if (request.method === "GET") return Response.json(await conversation.stand());
    if (request.method !== "POST") return refuse(405, `the method expected is GET or POST, got ${request.method}`);
    if (!(Number(request.headers.get("content-length")) <= MOST_BYTES)) {
      return refuse(413, `a body expected has at most ${MOST_BYTES} bytes`);
    }
    try {
      const message = decode(new Uint8Array(await request.arrayBuffer()));
      const outcome = await conversation.carryOut(message);
      return new Response(encode(outcome), { headers: { "content-type": "application/octet-stream" } });
    } catch (error) {
      // RPC keeps the name of an error, and not its class.
      const { name: kind, message } = error as Error;
      if (kind === "TypeError" || kind === "RangeError") return refuse(400, message);
      console.error(error);
      return refuse(503, "the memory could not be reached: ask again");
    }
  },
};

function refuse(status: number, error: string): Response {
  return Response.json({ error }, { status, headers: status === 405 ? { allow: "GET, POST" } : {} });
}

/** Bytes of the arrays of a message. */
function bytesOf(message: object): number {
  return Object.values(message).reduce<number>((sum, value) => {
    return sum + (ArrayBuffer.isView(value) ? value.byteLength : 0);
  }, 0);
}
