// A store of a shard in the SQLite of its Durable Object.
import type { DurableObjectStorage } from "cloudflare:workers";
import type { ShardStore, Stored } from "heed/shard";

/** Bytes of a blob. A row may have 2 MB. */
const PIECE_BYTES = 1_900_000;

export class SqliteStore implements ShardStore {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    storage.sql.exec("CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, text TEXT)");
    storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS pieces (chunk INTEGER, piece INTEGER, bytes BLOB, PRIMARY KEY (chunk, piece))",
    );
  }

  load(): Stored | undefined {
    const { sql } = this.#storage;
    const [row] = sql.exec("SELECT text FROM record");
    if (!row) return undefined;
    const chunks: Uint8Array[][] = [];
    for (const { chunk, bytes } of sql.exec("SELECT chunk, bytes FROM pieces ORDER BY chunk, piece")) {
      (chunks[chunk as number] ??= []).push(new Uint8Array(bytes as ArrayBuffer));
    }
    return { record: row["text"] as string, chunks: chunks.map(joined) };
  }

  /** All of it or nothing; the object gives no answer before it is on disk. */
  store(record: string, from: number, chunk: Uint8Array | undefined): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      sql.exec("INSERT OR REPLACE INTO record VALUES (0, ?)", record);
      sql.exec("DELETE FROM pieces WHERE chunk >= ?", from);
      for (let at = 0, piece = 0; chunk && at < chunk.length; at += PIECE_BYTES, piece++) {
        sql.exec("INSERT INTO pieces VALUES (?, ?, ?)", from, piece, chunk.slice(at, at + PIECE_BYTES));
      }
    });
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!;
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
