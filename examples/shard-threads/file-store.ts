// A store of a shard in a folder: a file for each chunk, and one that lists them. Each is written beside and then
// renamed, so that a process that ends at any moment leaves what was stored before, or all of the change. (Against a loss
// of power it would have to call fsync as well.)
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ShardStore, Stored } from "heed/shard";

interface List {
  record: string;
  /** The names of the chunks. */
  chunks: string[];
  /** How many chunks were ever written: the next name. */
  written: number;
}

export class FileStore implements ShardStore {
  readonly #folder: string;
  #list: List = { record: "", chunks: [], written: 0 };

  constructor(folder: string) {
    this.#folder = folder;
  }

  async load(): Promise<Stored | undefined> {
    await mkdir(this.#folder, { recursive: true });
    try {
      this.#list = JSON.parse(await readFile(this.#path("list.json"), "utf8")) as List;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    const chunks = await Promise.all(this.#list.chunks.map(async (name) => readFile(this.#path(name))));
    return { record: this.#list.record, chunks: chunks.map((chunk) => new Uint8Array(chunk)) };
  }

  async store(record: string, from: number, chunk: Uint8Array | undefined): Promise<void> {
    const { chunks, written } = this.#list;
    const kept = chunks.slice(0, from);
    if (chunk) {
      const name = `${written}.bin`;
      await writeFile(this.#path(name), chunk);
      kept.push(name);
    }
    const list: List = { record, chunks: kept, written: written + 1 };
    await writeFile(this.#path("new.json"), JSON.stringify(list));
    await rename(this.#path("new.json"), this.#path("list.json"));
    this.#list = list;
    // What is left over after a crash here is never listed again.
    await Promise.all(chunks.slice(from).map((name) => rm(this.#path(name), { force: true })));
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}
