/** Tokens from which on chunks stay as they are; smaller ones become one as soon as they have so many together. */
const CHUNK_TOKENS = 128;

/** How a store follows a change: its first `from` chunks stay, then comes one with the tokens from `start` on, if any. */
export interface ChunkPlan {
  /** The first token of each chunk, after the change. */
  starts: number[];
  from: number;
  start: number | undefined;
}

/**
 * How chunks follow a change: a token that is appended is written alone, and a second time with those before it once
 * they are 128. So what is written is at most twice what is kept, and chunks are few.
 *
 * @param starts the first token of each chunk
 * @param before tokens before the change
 * @param kept how many of them stay as they are
 * @param length tokens after the change
 */
export function planChunks(starts: readonly number[], before: number, kept: number, length: number): ChunkPlan {
  // Chunks that end within what is kept stay; one whose end is cut off is written again.
  let from = starts.findIndex((_, n) => (starts[n + 1] ?? before) > kept);
  if (from < 0) from = starts.length;
  let start = Math.min(kept, starts[from] ?? kept);
  let first = from;
  let firstStart = start;
  while (first > 0 && firstStart - starts[first - 1]! < CHUNK_TOKENS) firstStart = starts[--first]!;
  if (length - firstStart >= CHUNK_TOKENS) [from, start] = [first, firstStart];
  const left = starts.slice(0, from);
  return length > start ? { starts: [...left, start], from, start } : { starts: left, from, start: undefined };
}
