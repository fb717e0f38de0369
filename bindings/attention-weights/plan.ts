import { type CallPointers, type MaskedSequence, attendArgsOf, splitScale, withoutPadding } from "../attention/call.ts";
import type { KeySource } from "../attention/kv-source.ts";
import type { Problem } from "../attention/problem.ts";
import type { Sequence } from "../attention/sequences.ts";
import { ATTEND_ARGS, type AttendArgs, MAX_DECODE_ROWS, PAGE_KEYS, SCORE_ROW } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { stridesOf } from "../memory/layout.ts";
import type { Selection } from "./selection.ts";

/** Words of one `ScoreRow`. */
const SCORE_ROW_WORDS = SCORE_ROW.fields.length;

/** −FLT_MAX, lower than every score. */
const LOWEST = -3.4028234663852886e38;

/** What the rows that are not the answer's, and the sums, may take, each. */
const BYTES = 2 ** 18;

/** Batch entries; packed sequences are one. */
export function batchOf({ sequences }: Problem): number {
  return 1 + sequences.reduce((most, { batch }) => Math.max(most, batch), 0);
}

/** Where the answer goes, in linear memory. */
export interface Answer {
  weights: number;
  /** With topK, else 0. */
  indices: number;
  /** 0 = not wanted. */
  entropy: number;
}

/** A chosen row of a chosen head, by their places in the selection; what it adds to is row `unit` of the answer. */
interface RowHead {
  row: number;
  head: number;
  unit: number;
}

/** Some of the chosen rows and heads, by their places in the selection. */
interface RowsAndHeads {
  rows: readonly number[];
  heads: readonly number[];
}

/** One call: it reserves all memory, then runs the kernels, cells of one KV head at a time. */
export class Weighing {
  readonly #instance: Instance;
  readonly #problem: Problem;
  readonly #selection: Selection;
  readonly #source: KeySource;
  readonly #answer: Answer;
  readonly #pointers: CallPointers;
  readonly #sequences: readonly MaskedSequence[];
  /** Floats of a row of q for the kernel: headDim rounded up to whole eights. */
  readonly #dim: number;
  /** How many cells go through the kernels together. */
  readonly #together: number;
  /** [together] of Chosen, and [together][dim] rows of q. */
  readonly #table: number;
  readonly #q: number;
  /** [together][rowsKv] weights that are not the answer's; 0 where all are. */
  readonly #rows: number;
  /** [sumsTogether][rowsKv] sums of weights that are not the answer's; 0 where all are. */
  readonly #sums: number;
  readonly #sumsTogether: number;

  constructor(
    instance: Instance,
    problem: Problem,
    selection: Selection,
    scope: CallScope,
    source: KeySource,
    answer: Answer,
  ) {
    this.#instance = instance;
    this.#problem = problem;
    this.#selection = selection;
    this.#source = source;
    this.#answer = answer;
    this.#sequences = problem.sequences.map((sequence) => withoutPadding(instance, problem, sequence));
    this.#dim = Math.ceil(problem.headDim / 8) * 8;

    const { rows, heads, reduce, topK } = selection;
    const keys = problem.rowsKv * 4;
    const fit = Math.max(1, Math.floor(BYTES / Math.max(1, keys)));
    const apart = reduce !== undefined || topK !== undefined;
    // Keys that are copied in should serve many rows; else the scores should still be near when they are normalized.
    const most = apart || source.atOnce === Infinity ? fit : BYTES / (this.#dim * 4);
    this.#together = Math.min(
      Math.max(1, Math.floor(most / MAX_DECODE_ROWS)) * MAX_DECODE_ROWS,
      rows.length * heads.length,
    );
    this.#table = scope.reserve(this.#together * SCORE_ROW_WORDS * 4);
    this.#q = scope.reserve(this.#together * this.#dim * 4);
    this.#rows = apart ? scope.reserve(this.#together * keys) : 0;
    this.#sumsTogether = Math.min(fit, reduce === "mean" ? rows.length : heads.length);
    this.#sums = reduce !== undefined && topK !== undefined ? scope.reserve(this.#sumsTogether * keys) : 0;
    this.#pointers = {
      args: scope.reserve(structBytes(ATTEND_ARGS)),
      scratch: scope.reserve(instance.kernels.scoreRowsBytes(this.#dim)),
      tiles: 0,
      q: 0,
      keepMask: scope.input(problem.keepMask?.data),
      bias: scope.input(problem.bias?.data),
      alibiSlopes: scope.input(problem.alibiSlopes),
      sinks: scope.input(problem.sinks),
      out: 0,
      lse: 0,
    };
  }

  run(): void {
    const { reduce, topK } = this.#selection;
    const rows = Array.from(this.#selection.rows.keys());
    const heads = Array.from(this.#selection.heads.keys());
    const batch = batchOf(this.#problem);
    // What no kernel writes: keys of no sequence, or of another.
    if (topK === undefined && (reduce !== undefined || !this.#coversKeys)) {
      const units = (reduce === "mean" ? 1 : heads.length) * (reduce === "keySum" ? 1 : rows.length);
      this.#fill(this.#answer.weights, batch * units, this.#nothing);
    }
    for (let b = 0; b < batch; b++) {
      if (this.#sums === 0) this.#weighPart(b, { rows, heads });
      else if (reduce === "mean") for (const some of this.#slices(rows)) this.#weighPart(b, { rows: some, heads });
      else for (const some of this.#slices(heads)) this.#weighPart(b, { rows, heads: some });
    }
  }

  /** Whether every sequence has all keys of its batch entry. */
  get #coversKeys(): boolean {
    return this.#sequences.every(({ seqLenKv }) => seqLenKv === this.#problem.rowsKv);
  }

  /** What stands where a row does not see a key. */
  get #nothing(): number {
    return this.#selection.stage === "softmax" ? 0 : -Infinity;
  }

  /** Fills `rows` rows over all keys. */
  #fill(ptr: number, rows: number, x: number): void {
    new Float32Array(this.#instance.arena.buffer, ptr, rows * this.#problem.rowsKv).fill(x);
  }

  /** As many units at a time as there is room for sums. */
  *#slices(units: readonly number[]): Generator<readonly number[]> {
    for (let at = 0; at < units.length; at += this.#sumsTogether) yield units.slice(at, at + this.#sumsTogether);
  }

  #unitOf(b: number, row: number, head: number): number {
    const { rows, heads, reduce } = this.#selection;
    if (reduce === "mean") return b * rows.length + row;
    if (reduce === "keySum") return b * heads.length + head;
    return (b * heads.length + head) * rows.length + row;
  }

  /** Some rows and heads of one batch entry. */
  #weighPart(b: number, part: RowsAndHeads): void {
    const { kernels } = this.#instance;
    const { rowsKv } = this.#problem;
    const { reduce, heads } = this.#selection;
    const units = reduce === "mean" ? part.rows.length : part.heads.length;
    if (part.rows.length === 0 || part.heads.length === 0) return;
    const firstUnit = this.#unitOf(b, part.rows[0]!, part.heads[0]!);
    const sums = this.#sums || this.#answer.weights + firstUnit * rowsKv * 4;
    if (this.#sums) this.#fill(this.#sums, units, 0);
    this.#sequences.forEach((sequence, s) => {
      if (sequence.batch !== b) return;
      for (let kvHead = 0; kvHead < this.#problem.numKvHeads; kvHead++) {
        const cells = this.#cellsOf(sequence, kvHead, part);
        for (let at = 0; at < cells.length; at += this.#together) {
          this.#weighCells(
            s,
            kvHead,
            cells.slice(at, at + this.#together),
            (unit) => sums + (unit - firstUnit) * rowsKv * 4,
          );
        }
      }
    });
    if (reduce === "mean") kernels.divideRow(sums, units * rowsKv, heads.length);
    if (this.#sums) for (let n = 0; n < units; n++) this.#takeTop(firstUnit + n, sums + n * rowsKv * 4);
  }

  /** The cells of a part in one sequence and of one KV head, those of a unit together. */
  #cellsOf({ batch, startQ, seqLenQ }: Sequence, kvHead: number, part: RowsAndHeads): RowHead[] {
    const { numHeads, numKvHeads } = this.#problem;
    const selection = this.#selection;
    const group = numHeads / numKvHeads;
    const heads = part.heads.filter((head) => Math.floor(selection.heads[head]! / group) === kvHead);
    if (heads.length === 0) return [];
    const rows = part.rows.filter((row) => selection.rows[row]! >= startQ && selection.rows[row]! < startQ + seqLenQ);
    const cellOf = (row: number, head: number): RowHead => ({ row, head, unit: this.#unitOf(batch, row, head) });
    // Heads of a group and rows close together see much the same keys.
    if (selection.reduce === "keySum") return heads.flatMap((head) => rows.map((row) => cellOf(row, head)));
    return rows.flatMap((row) => heads.map((head) => cellOf(row, head)));
  }

  /** Cells of one sequence and KV head through the kernels; `sumOf` is where a unit is added up. */
  #weighCells(s: number, kvHead: number, cells: readonly RowHead[], sumOf: (unit: number) => number): void {
    const { kernels, arena } = this.#instance;
    const { rowsKv, headDim } = this.#problem;
    const { reduce, topK, lse, stage } = this.#selection;
    const { startKv, seqLenKv } = this.#sequences[s]!;
    const { args, scratch } = this.#pointers;
    const table = this.#table;
    const hasLse = lse !== undefined;
    if (topK !== undefined && !reduce && !this.#coversKeys) this.#fill(this.#rows, cells.length, 0);
    this.#writeCells(s, kvHead, cells);
    let first = 0;
    do {
      const end = Math.min(first + this.#source.atOnce, seqLenKv);
      writeStruct(arena.buffer, args, ATTEND_ARGS, this.#argsOf(s, kvHead, first, end));
      kernels.scoreRows(args, scratch, table, this.#q, cells.length, headDim, first, end, hasLse);
      first = end;
    } while (first < seqLenKv);
    if (stage !== "softmax") return;
    kernels.normalizeRows(args, scratch, table, cells.length, headDim, hasLse);
    if (reduce) {
      for (let from = 0, to = 0; from < cells.length; from = to) {
        const { unit } = cells[from]!;
        while (to < cells.length && cells[to]!.unit === unit) to++;
        kernels.sumRows(sumOf(unit) + startKv * 4, table + from * SCORE_ROW_WORDS * 4, to - from, seqLenKv);
      }
    } else if (topK !== undefined) {
      cells.forEach(({ unit }, n) => this.#takeTop(unit, this.#rows + n * rowsKv * 4));
    }
  }

  /** Writes the table and the rows of q. */
  #writeCells(s: number, kvHead: number, cells: readonly RowHead[]): void {
    const { buffer } = this.#instance.arena;
    const { q, numHeads, numKvHeads, headDim, layout, rowsQ, rowsKv, scale } = this.#problem;
    const { rows, heads, lse } = this.#selection;
    const { batch, startQ, startKv } = this.#sequences[s]!;
    const group = numHeads / numKvHeads;
    const lses = lse && floatsOf(buffer, lse);
    const from = floatsOf(buffer, q);
    const to = new Float32Array(buffer, this.#q, cells.length * this.#dim);
    const of = stridesOf(layout, rowsQ, numHeads, headDim);
    const { queryScale } = splitScale(scale);
    cells.forEach(({ row, head, unit }, n) => {
      const [i, h] = [rows[row]!, heads[head]!];
      const base = this.#rows ? this.#rows + n * rowsKv * 4 : this.#answer.weights + unit * rowsKv * 4;
      const rowAt = (batch * heads.length + head) * rows.length + row;
      writeStruct(buffer, this.#table + n * SCORE_ROW_WORDS * 4, SCORE_ROW, {
        row: (i - startQ) * group + h - kvHead * group,
        weights: base + startKv * 4,
        entropy: this.#answer.entropy && this.#answer.entropy + rowAt * 4,
        lse: lses ? lses[(batch * numHeads + h) * rowsQ + i]! : 0,
        m: LOWEST,
        magnitude: 0,
      });
      const qAt = (batch * of.batch + i * of.row + h * of.head) / 4;
      to.fill(0, n * this.#dim + headDim, (n + 1) * this.#dim);
      for (let d = 0; d < headDim; d++) to[n * this.#dim + d] = from[qAt + d]! * queryScale;
    });
  }

  /** The arguments of the kernels for one KV head, where the keys [first, end) can be read. */
  #argsOf(s: number, kvHead: number, first: number, end: number): AttendArgs {
    const sequence = this.#sequences[s]!;
    const keys = this.#source.keysOf(sequence, s, first, end, kvHead);
    const args = attendArgsOf(this.#instance, this.#problem, this.#pointers, sequence, s, keys);
    const query = kvHead * args.group;
    return {
      ...args,
      k: args.k + kvHead * args.kHeadStride,
      kScales: args.kScales && args.kScales + kvHead * PAGE_KEYS * 4,
      keepMask: args.keepMask && args.keepMask + query * args.maskHeadStride,
      bias: args.bias && args.bias + query * args.biasHeadStride,
      alibiSlopes: args.alibiSlopes && args.alibiSlopes + query * 4,
      sinks: args.sinks && args.sinks + query * 4,
      numKvHeads: 1,
      headDim: this.#dim,
    };
  }

  /** The largest of a row, as row `unit` of the answer. */
  #takeTop(unit: number, row: number): void {
    const topK = this.#selection.topK!;
    const at = unit * topK * 4;
    const { weights, indices } = this.#answer;
    this.#instance.kernels.topOfRow(weights + at, indices + at, row, this.#problem.rowsKv, topK);
  }
}

function floatsOf(buffer: ArrayBuffer, { array, ptr, length }: Floats): Float32Array {
  return array ?? new Float32Array(buffer, ptr, length);
}
