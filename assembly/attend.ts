// Exact attention without a score matrix (FlashAttention-2, arXiv 2307.08691): query rows stay, keys and values stream
// past them once, through an online softmax.
//
// A call is cut into work items, numbered KV head by KV head: item n is pass n % passes of KV head n / passes, where a
// pass is up to 48 tiles of query rows (prefill/passes.ts). Items share nothing but the arguments, which nobody writes,
// and out and lse, of which each writes rows of its own. So any number of threads may take items of one call, each with
// scratch of its own.
//
//     for each item    decode/decode.ts     up to four query rows, whole eights of values: K and V are read once
//                      prefill/passes.ts    everything else, and what decode leaves to it (prefill/nonfinite.ts)

import { AttendArgs, boundedSize, isFirstPiece, isLastPiece } from "./args";
import { QueryTile, rowsPerKvHead } from "./attention/query-tile";
import { ALL_WRITTEN, decode, decodes } from "./decode/decode";
import { PAGE_KEYS } from "./kv/rows";
import { attendPass, kvTileScratchBytes, passTileBytes, passesPerKvHead } from "./prefill/passes";

/** Work items of a call. */
export function workItems(args: AttendArgs): i32 {
  return args.numKvHeads * passesPerKvHead(args);
}

/**
 * Bytes of scratch for {@link attend} of at most `rows` query rows a KV head: O(headDim + valueDim), whatever the lengths.
 */
export function scratchBytes(headDim: f64, valueDim: f64, rows: f64): f64 {
  const own = kvTileScratchBytes(boundedSize(headDim), boundedSize(valueDim));
  return <f64>own + pieceTileBytes(headDim, valueDim, rows);
}

/** Bytes of `args.tiles` for each KV head, where K and V come in pieces. */
export function pieceTileBytes(headDim: f64, valueDim: f64, rows: f64): f64 {
  return <f64>passTileBytes(boundedSize(headDim), boundedSize(valueDim), boundedSize(rows));
}

/**
 * out and lse of the work items [firstItem, endItem). Where K and V come in pieces, in the order of the keys, the query
 * rows of a KV head are one pass, as MAX_PIECE_ROWS of them always are, and out and lse are written with the last piece.
 *
 *   scratch   scratchBytes(headDim, valueDim, rows), overwritten; one for each thread
 *
 * False where out and lse of some rows are not written, since masked values that are not finite got into what came in
 * pieces: then every piece must come once more, with args.careful.
 */
export function attend(args: AttendArgs, scratch: usize, firstItem: i32, endItem: i32): bool {
  assert(args.numKvHeads > 0 && args.group > 0 && args.headDim > 0 && args.valueDim > 0, "dims must be positive");
  assert(args.seqLenQ >= 0 && args.seqLenKv >= 0, "lengths must not be negative");
  assert(args.scoreScale > 0, "scoreScale must be positive");
  assert(args.left >= 0 && args.right >= 0, "left and right must not be negative");
  assert(args.fromKey % PAGE_KEYS == 0 && (isLastPiece(args) || args.toKey % PAGE_KEYS == 0), "pieces are whole pages");
  assert(0 <= firstItem && endItem <= workItems(args), "items must be items of the call");

  const passes = passesPerKvHead(args);
  let written = true;
  for (let item = firstItem; item < endItem; item++) {
    if (!attendItem(args, item / passes, item % passes, scratch)) written = false;
  }
  return written;
}

/** One work item: `pass` of the query rows of one KV head. */
function attendItem(args: AttendArgs, kvHead: i32, pass: i32, scratch: usize): bool {
  const inPieces = !(isFirstPiece(args) && isLastPiece(args));
  assert(!inPieces || (args.tiles != 0 && passesPerKvHead(args) <= 1), "pieces need tiles, and a single pass");
  const tileBytes = <usize>passTileBytes(args.headDim, args.valueDim, rowsPerKvHead(args));
  const tiles = inPieces
    ? args.tiles + <usize>kvHead * tileBytes
    : scratch + <usize>kvTileScratchBytes(args.headDim, args.valueDim);
  let written = 0;
  if (!args.reproducible && decodes(args)) {
    // Its rows of q and O stand where Qᵗ and Oᵗ of a tile would.
    written = decode(changetype<QueryTile>(tiles), args, kvHead, scratch);
    if (written == ALL_WRITTEN) return true;
    if (inPieces) return false;
  }
  return attendPass(args, kvHead, pass, scratch, tiles, written);
}
