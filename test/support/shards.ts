// Places for tests: shards that may be restarted before any request, and calls that lose requests and answers, come
// twice, or come late.
import type { Heed } from "../../bindings/heed.ts";
import {
  Shard,
  type ShardAnswer,
  type ShardRequest,
  type ShardStore,
  type Stored,
} from "../../bindings/shard/index.ts";

/** A store in memory, which outlives the shard; it keeps copies. */
export class MemoryStore implements ShardStore {
  kept: Stored | undefined;
  /** Chunks written since it was made, and their bytes. */
  written = { chunks: 0, bytes: 0 };
  /** Makes the next call of `store` fail: before anything is kept, or when all is. */
  fails: "before" | "after" | undefined;

  load(): Stored | undefined {
    return this.kept && structuredClone(this.kept);
  }

  async store(record: string, from: number, chunk: Uint8Array | undefined): Promise<void> {
    await Promise.resolve();
    const { fails } = this;
    this.fails = undefined;
    if (fails === "before") throw new Error("the disk is full");
    const before = this.kept?.chunks ?? [];
    if (from > before.length) throw new Error(`chunk ${from} of ${before.length}`);
    this.kept = { record, chunks: [...before.slice(0, from), ...(chunk ? [chunk.slice()] : [])] };
    this.written.chunks += Number(chunk !== undefined);
    this.written.bytes += chunk?.length ?? 0;
    if (fails === "after") throw new Error("the disk is gone");
  }
}

/** A place whose shard lives in `heed`. */
export class TestPlace {
  readonly store = new MemoryStore();
  readonly #heed: Heed;
  shard: Shard;
  /** Requests that were answered. */
  answered: ShardRequest[] = [];

  constructor(heed: Heed) {
    this.#heed = heed;
    this.shard = new Shard(heed, { store: this.store });
  }

  /** As after an eviction: what is in memory is gone. */
  restart(): void {
    this.shard.dispose();
    this.shard = new Shard(this.#heed, { store: this.store });
  }

  /** A call as a transport makes it: nothing is shared. */
  call = async (request: ShardRequest): Promise<ShardAnswer> => {
    this.answered.push(request);
    return structuredClone(await this.shard.handle(structuredClone(request)));
  };
}

/** Calls to some places that go wrong in every way, at random; no more than `most` in a row at one place. */
export function unreliable(places: readonly TestPlace[], next: () => number, share: number, most: number) {
  return places.map((place) => {
    let failures = 0;
    const late: ShardRequest[] = [];
    return async (request: ShardRequest): Promise<ShardAnswer> => {
      if (next() < share) place.restart();
      // A request that was given up long ago arrives after all.
      if (late.length > 0 && next() < 0.5) await place.call(late.shift()!);
      if (next() < share) await place.call(request);
      const draw = failures < most ? next() : 1;
      failures = draw < share ? failures + 1 : 0;
      if (draw < share / 3) {
        late.push(structuredClone(request));
        throw new Error("the request is late");
      }
      if (draw < (share * 2) / 3) throw new Error("the request is lost");
      const answer = await place.call(request);
      if (draw < share) throw new Error("the answer is lost");
      return answer;
    };
  });
}

/** What a promise is rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("expected a rejection");
}
