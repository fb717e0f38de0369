/**
 * Where a place keeps what it has, so that it goes on after it was evicted: a record, and chunks of bytes in order.
 * Examples are files, and the SQLite of a Durable Object.
 *
 * @category Places
 */
export interface ShardStore {
  /** What was stored; undefined where nothing was. */
  load(): Stored | undefined | Promise<Stored | undefined>;
  /**
   * Keeps the record and the first `from` chunks as they are; `chunk`, if there is one, becomes chunk number `from`;
   * those behind it are dropped. All of it or, where it throws, nothing is to be stored; once it returns or its promise
   * resolves, it outlives the process. A chunk has at most about the bytes of a request: see `requestBytes` of
   * {@link ShardedCache}.
   */
  store(record: string, from: number, chunk: Uint8Array | undefined): void | Promise<void>;
}

/** What a {@link ShardStore} gives back. @category Places */
export interface Stored {
  record: string;
  chunks: Uint8Array[];
}
