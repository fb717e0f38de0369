// A safetensors file on disk.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { reason } from "../read/text.ts";
import type { Source } from "./format.ts";

/** Bytes of one read: Node's limit is 2 GiB. */
const MOST_BYTES = 2 ** 30;

/** Opens a file, hands it to `use`, and closes it again. Throws an Error that names the file where it cannot be read. */
export function withFile<Result>(path: string, use: (source: Source) => Result): Result {
  const attempt = <Value>(act: () => Value): Value => {
    try {
      return act();
    } catch (error) {
      throw new Error(`cannot read ${JSON.stringify(path)}: ${reason(error)}`, { cause: error });
    }
  };
  const file = attempt(() => openSync(path, "r"));
  try {
    const stat = attempt(() => fstatSync(file));
    if (stat.isDirectory()) throw new Error(`cannot read ${JSON.stringify(path)}: it is a directory`);
    const read: Source["read"] = (into, at) => {
      for (let done = 0; done < into.length;) {
        const length = Math.min(MOST_BYTES, into.length - done);
        const got = attempt(() => readSync(file, into, done, length, at + done));
        if (got === 0) throw new Error(`cannot read ${JSON.stringify(path)}: it ends at byte ${at + done}`);
        done += got;
      }
    };
    return use({ title: path, size: stat.size, read });
  } finally {
    closeSync(file);
  }
}
