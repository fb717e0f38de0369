// Rows of some tokens of arrays [batch, tokens, …], taken out and put in.

/** Tokens [from, to) of x, [batch, tokens, width], as an array of their own. */
export function takeTokens(x: Float32Array, batch: number, width: number, from: number, to: number): Float32Array {
  const taken = new Float32Array(batch * (to - from) * width);
  putTokens(taken, x, batch, width, 0, from, to);
  return taken;
}

/** Puts tokens [from, to) of `source`, [batch, …, width], into `target`, [batch, …, width], from token `at` on. */
export function putTokens(
  target: Float32Array,
  source: Float32Array,
  batch: number,
  width: number,
  at: number,
  from: number,
  to: number,
): void {
  const [targetRow, sourceRow] = [target.length / batch, source.length / batch];
  for (let b = 0; b < batch; b++) {
    const start = b * sourceRow;
    target.set(source.subarray(start + from * width, start + to * width), b * targetRow + at * width);
  }
}

/** Tokens [from, to) of the whole. */
export interface Stretch {
  from: number;
  to: number;
}

/** Stretches in groups of at most `most` tokens; longer ones are cut. */
export function groupsOf(parts: readonly Stretch[], most: number): Stretch[][] {
  const groups: Stretch[][] = [];
  let room = 0;
  for (const { from, to } of parts) {
    for (let at = from; at < to;) {
      if (room === 0) {
        groups.push([]);
        room = most;
      }
      const end = Math.min(to, at + room);
      groups.at(-1)!.push({ from: at, to: end });
      room -= end - at;
      at = end;
    }
  }
  return groups;
}

/** The rows of some stretches of x, [batch, …, width], whose token 0 stands at position `first`. */
export function gatherTokens(
  x: Float32Array,
  batch: number,
  width: number,
  group: readonly Stretch[],
  first: number,
): Float32Array {
  const tokens = group.reduce((sum, { from, to }) => sum + to - from, 0);
  const rows = new Float32Array(batch * tokens * width);
  let at = 0;
  for (const { from, to } of group) {
    putTokens(rows, x, batch, width, at, from - first, to - first);
    at += to - from;
  }
  return rows;
}
