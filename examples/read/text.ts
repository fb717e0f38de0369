// Where the text comes from.
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/** A text that cannot be read: the message is all that the user needs. */
export class TextError extends Error {}

export interface Source {
  /** What was read, to stand after "Reading". */
  title: string;
  text: string;
  /** Whether more follows that was not looked at. */
  hasMore?: boolean;
  /** Bytes of all of it, where that is known. */
  bytes?: number | undefined;
}

/** Bytes read of a file at most: far more than the longest sequence of tokens needs. */
const MAX_BYTES = 1 << 22;

/** The chapters of Moby-Dick that stand in moby-dick/. */
export const CHAPTERS: readonly number[] = [1, 36, 42, 54, 135];

/** One of those chapters. */
export function mobyDick(chapter: number): Source {
  // Bundled or not, this file belongs to the package, whose root holds the text.
  const root = pathToFileURL(createRequire(import.meta.url).resolve("heed/package.json"));
  const file = readFileSync(new URL(`examples/read/moby-dick/${chapter}.txt`, root), "utf8");
  const titleEnd = file.indexOf("\n\n");
  return { title: `Moby-Dick, chapter ${chapter}, “${file.slice(0, titleEnd)}”`, text: file.slice(titleEnd + 2) };
}

/** A UTF-8 file, or the first 4 MiB of it. */
export function fromFile(path: string): Source {
  const { start, size } = readStart(path);
  return { ...sourceOf(printable(path), start, JSON.stringify(path)), bytes: size };
}

/** A path to print: it may hold characters that a terminal obeys. */
export function printable(path: string): string {
  return /\p{C}/u.test(path) ? JSON.stringify(path).replaceAll(/\p{C}/gu, "�") : path;
}

/**
 * What stands on standard input, or nothing if it is a terminal, is empty or closed, or stays silent for `patience`
 * milliseconds: a parent process may hold the pipe open for ever without a word.
 */
export async function fromStdin(patience: number): Promise<Source | undefined> {
  if (!isPiped()) return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  const silence = Number.isFinite(patience) ? setTimeout(() => process.stdin.destroy(), patience) : undefined;
  try {
    for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
      clearTimeout(silence);
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_BYTES) break;
    }
  } catch (error) {
    // Destroyed by the timer before anything came.
    if (chunks.length > 0) throw new TextError(`cannot read standard input: ${(error as Error).message}`);
  } finally {
    clearTimeout(silence);
  }
  if (bytes === 0) return undefined;
  return sourceOf("standard input", Buffer.concat(chunks), "standard input");
}

/** A file's first bytes, and how many it has, where it is one that has an end. */
function readStart(path: string): { start: Buffer; size: number | undefined } {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw new TextError(`cannot read ${JSON.stringify(path)}: ${reason(error)}`);
  }
  try {
    // One byte more, to see whether there is one.
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    let bytes = 0;
    for (let got = -1; got !== 0 && bytes < buffer.length; bytes += got) {
      got = readSync(file, buffer, bytes, buffer.length - bytes, null);
    }
    const stat = fstatSync(file);
    return { start: buffer.subarray(0, bytes), size: stat.isFile() ? stat.size : undefined };
  } catch (error) {
    throw new TextError(`cannot read ${JSON.stringify(path)}: ${reason(error)}`);
  } finally {
    closeSync(file);
  }
}

/** The text of at most MAX_BYTES of the bytes; `name` stands in errors. */
function sourceOf(title: string, bytes: Buffer, name: string): Source {
  const hasMore = bytes.length > MAX_BYTES;
  const start = bytes.subarray(0, MAX_BYTES);
  if (start.includes(0)) throw new TextError(`${name} is binary, not text: it has bytes of 0`);
  try {
    // A character cut in two by MAX_BYTES is left off, not an error.
    return { title, text: new TextDecoder("utf-8", { fatal: true }).decode(start, { stream: hasMore }), hasMore };
  } catch {
    throw new TextError(`${name} is not UTF-8 text`);
  }
}

function isPiped(): boolean {
  if (process.stdin.isTTY) return false;
  try {
    const stat = fstatSync(0);
    return stat.isFIFO() || stat.isFile() || stat.isSocket();
  } catch {
    return false;
  }
}

/** Why a file could not be read or written. */
export function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const known: Record<string, string> = {
    ENOENT: "no such file",
    EISDIR: "it is a directory",
    EACCES: "permission denied",
    ENOTDIR: "a part of the path is no folder",
  };
  return known[code] ?? (error as Error).message;
}
