// Where the tokens of a cache stand that is cut over places: page p, of `pageTokens` tokens, lies at place p % places.
// So the length of the whole says how many tokens each place has, and the tokens of a place ascend in position.

/** How a cache is cut, as one of its places sees it. @category Messages */
export interface Cut {
  /** Which place this is, from 0. */
  readonly place: number;
  /** How many places there are. */
  readonly places: number;
  /** Tokens of a page. */
  readonly pageTokens: number;
}

/** How many of the first `length` tokens of the whole stand at a place. */
export function localLength({ place, places, pageTokens }: Cut, length: number): number {
  if (length <= 0) return 0;
  const round = places * pageTokens;
  const rounds = Math.floor(length / round);
  const rest = length - rounds * round - place * pageTokens;
  return rounds * pageTokens + Math.max(0, Math.min(pageTokens, rest));
}

/** The position in the whole of token `at` of a place. */
export function positionOf({ place, places, pageTokens }: Cut, at: number): number {
  const page = Math.floor(at / pageTokens);
  return (page * places + place) * pageTokens + (at - page * pageTokens);
}

/** Tokens [from, to) of the whole, as stretches: each lies in one page. */
export function stretches(
  { places, pageTokens }: Omit<Cut, "place">,
  from: number,
  to: number,
): { place: number; from: number; to: number }[] {
  const found = [];
  for (let at = from; at < to;) {
    const page = Math.floor(at / pageTokens);
    const end = Math.min(to, (page + 1) * pageTokens);
    found.push({ place: page % places, from: at, to: end });
    at = end;
  }
  return found;
}

/** Query rows that may attend in one call over the tokens of a place. */
export interface Run {
  from: number;
  to: number;
  /**
   * What the rows see: all tokens, those up to their own position ("causal", where row `from` sees `count` tokens), or
   * the first `count` (0: none).
   */
  sees: "all" | "causal" | "first";
  count: number;
}

/**
 * Rows 0 … rows − 1, which stand at the positions from `offset` on and see no later one, as runs. Within a page of this
 * place each row sees a token more than the one before; within the pages of other places all see the same tokens.
 */
export function causalRuns(cut: Cut, length: number, offset: number, rows: number): Run[] {
  const { place, places, pageTokens } = cut;
  const runs: Run[] = [];
  for (let from = 0; from < rows;) {
    const position = offset + from;
    const count = localLength(cut, position + 1);
    if (count >= length) {
      runs.push({ from, to: rows, sees: "all", count: length });
      break;
    }
    // How far the position lies behind the start of a page of this place.
    const start = place * pageTokens;
    const round = places * pageTokens;
    const behind = position < start ? position - start : (position - start) % round;
    const isOwn = behind >= 0 && behind < pageTokens;
    const left = isOwn ? pageTokens - behind : behind < 0 ? -behind : round - behind;
    const to = Math.min(rows, from + left);
    runs.push({ from, to, sees: isOwn ? "causal" : "first", count });
    from = to;
  }
  return runs;
}
