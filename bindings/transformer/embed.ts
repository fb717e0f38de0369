import { checkAbsent, checkFinite, checkInteger, checkIntegers, checkLength, checkRows } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import { MAX_DIM, MAX_ROWS } from "../limits.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import type { Rows } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import type { BlockResult } from "./activate.ts";
import type { Site } from "./site.ts";

/** What `embed` takes besides the tokens. @category Transformer blocks */
export interface EmbedOptions<Out extends Rows | undefined = Rows | undefined> {
  /** [tokens, dim]. Of an array those rows alone are copied in that the call reads; a Tensor is read in place. */
  table: Rows;
  /** Floats in a row. */
  dim: number;
  /** What a row of `table` is multiplied by, such as √dim in Gemma. Default 1. */
  scale?: number | undefined;
  /** [positions, dim], of which each token gets a row added. Default none. */
  positionTable?: Rows | undefined;
  /** The row of `positionTable` for each token, or that of the first token of each sequence. Default 0. */
  positions?: number | Int32Array | undefined;
  /** Tokens in a sequence, after which positions begin anew; where `positions` is a number. Default all. */
  seqLen?: number | undefined;
  /** [types, dim], of which each token gets a row added. Default none. */
  typeTable?: Rows | undefined;
  /** The row of `typeTable` for each token. Default 0 for all. */
  types?: Int32Array | undefined;
  /** Where to write, [tokens, dim]. Default a fresh Float32Array. */
  out?: Out | undefined;
}

const NAMES: Names<EmbedOptions> = {
  table: 0,
  dim: 0,
  scale: 0,
  positionTable: 0,
  positions: 0,
  seqLen: 0,
  typeTable: 0,
  types: 0,
  out: 0,
};

/** A table, and which of its rows the call reads. */
interface Lookup {
  table: Floats;
  rows: Int32Array;
}

/** See {@link Blocks.embed}: check, copy in, run, copy out, release. */
export function embed({ instance, kernels }: Site, tokensIn: unknown, given: unknown): BlockResult {
  const { arena, own } = instance;
  const options = readOptions<EmbedOptions>("embed", given, NAMES);
  const tokens = checkIntegers("tokens", tokensIn);
  const dim = checkInteger("dim", options.dim, 1, MAX_DIM);
  const scale = checkFinite("scale", options.scale ?? 1);
  const count = tokens.length;
  const lookup = (title: "table" | "positionTable" | "typeTable", name: string, rows: Int32Array): Lookup => {
    const table = own.checkFloats(title, options[title], arena);
    const last = checkRows(title, table.length, dim, "dim") - 1;
    const wrong = rows.findIndex((row) => row < 0 || row > last);
    if (wrong >= 0) checkInteger(`${name}[${wrong}]`, rows[wrong], 0, last);
    return { table, rows };
  };
  const token = lookup("table", "tokens", tokens);
  const hasPositions = options.positionTable !== undefined;
  if (!hasPositions) checkAbsent(options, ["positions", "seqLen"], 'nothing without a "positionTable"');
  const position = hasPositions ? lookup("positionTable", "positions", positionsOf(options, count)) : undefined;
  if (options.typeTable === undefined) checkAbsent(options, ["types"], 'nothing without a "typeTable"');
  const type = options.typeTable === undefined ? undefined : lookup("typeTable", "types", typesOf(options, count));
  const out = new own.Output(arena, "out", options.out, count * dim, "tokens × dim");
  const { table, positionTable, typeTable } = options;
  own.checkApart(arena, { out: options.out }, { table, positionTable, typeTable });

  return own.withScope(arena, (scope) => {
    const places = [token, position, type].flatMap((one) => placeRows(instance, scope, one, dim));
    const outPtr = out.reserve(scope);
    const [a, aRows, b, bRows, c, cRows] = places as [number, number, number, number, number, number];
    kernels.embedRows(outPtr, a, aRows, b, bRows, c, cRows, count, dim, scale);
    return { out: out.take()! };
  });
}

/** The row of the table of positions for each token. */
function positionsOf({ positions = 0, seqLen }: EmbedOptions, count: number): Int32Array {
  if (typeof positions !== "number") {
    const rows = checkIntegers("positions", positions, "an integer or an Int32Array");
    checkLength("positions", rows.length, count, "the number of tokens");
    checkAbsent({ seqLen }, ["seqLen"], 'nothing beside an array of "positions"');
    return rows;
  }
  checkInteger("positions", positions, 0, MAX_ROWS);
  const length = checkInteger("seqLen", seqLen ?? Math.max(count, 1), 1, MAX_ROWS);
  checkRows("tokens", count, length, "seqLen");
  return Int32Array.from({ length: count }, (_, n) => positions + (n % length));
}

function typesOf({ types }: EmbedOptions, count: number): Int32Array {
  if (types === undefined) return new Int32Array(count);
  const rows = checkIntegers("types", types);
  checkLength("types", rows.length, count, "the number of tokens");
  return rows;
}

/** The addresses of a table and of the numbers of its rows; 0 for none. Of an array the rows are copied one by one. */
function placeRows({ arena }: Instance, scope: CallScope, lookup: Lookup | undefined, dim: number): [number, number] {
  if (!lookup) return [0, 0];
  const { table, rows } = lookup;
  if (!table.array) return [table.ptr, scope.integers(rows)];
  const numbers = scope.integers(rows.map((_, n) => n));
  const ptr = scope.reserve(rows.length * dim * 4);
  const copy = new Float32Array(arena.buffer, ptr, rows.length * dim);
  rows.forEach((row, n) => copy.set(table.array.subarray(row * dim, (row + 1) * dim), n * dim));
  return [ptr, numbers];
}
