import {
  checkBoolean,
  checkFinite,
  checkInteger,
  checkLength,
  checkRows,
  checkTypedArray,
  isTypedArray,
  wrongValue,
} from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import { type FloatRows, type Floats, checkAnyFloats, checkFloatsOf, halves } from "../memory/data.ts";
import { ARRANGEMENT_NAMES, type Layout } from "../memory/layout.ts";
import type { Written } from "../memory/output.ts";
import type { Names } from "../options.ts";
import { checkSections, readSections } from "./sections.ts";

/** Which pairs of floats of a row are rotated, and by which angles. @category Rotary */
export interface RotaryForm {
  /**
   * Pair j at position p is rotated by the angle p·base^(−2j / rotaryDim). Default 10000, unless frequencies or tables
   * are given.
   */
  base?: number | undefined;
  /**
   * [rotaryDim / 2]: pair j at position p is rotated by the angle p·frequencies[j], in radians. Any number that is
   * finite in f32, 0 and negative ones too. Instead of `base`. `rotaryFrequencies` computes those of a model's config.
   */
  frequencies?: Float32Array | Float64Array | undefined;
  /**
   * A number greater than 0 that all cosines and sines are multiplied by, those of tables too, and so the pairs that
   * are rotated: the attention factor of YaRN and LongRoPE. Default 1.
   */
  attentionScale?: number | undefined;
  /** [maxPositions, rotaryDim / 2]: the cosines of the angles of each position. With `sin`, instead of `base`. */
  cos?: FloatRows | undefined;
  /** [maxPositions, rotaryDim / 2]: the sines. */
  sin?: FloatRows | undefined;
  /** How many floats of a row are rotated: an even number. The rest stay as they are. Default headDim. */
  rotaryDim?: number | undefined;
  /** True: pair j is the floats 2j and 2j + 1. False: the floats j and j + rotaryDim / 2. Default false. */
  interleaved?: boolean | undefined;
  /**
   * Positions on several axes, such as time, height and width (M-RoPE of Qwen2-VL): how many pairs each axis turns, in
   * the order of the pairs; at most 16 axes. The sum is rotaryDim / 2. Default one axis.
   */
  sections?: readonly number[] | undefined;
  /**
   * True: pair a + n·axes belongs to axis a > 0 for each n < sections[a], and axis 0 has the pairs that are left
   * (Qwen3-VL). False: the pairs of an axis stand together. Default false.
   */
  sectionsInterleaved?: boolean | undefined;
}

/** The options of a {@link RotaryForm}. */
export const FORM_NAMES: Names<RotaryForm> = {
  base: 0,
  frequencies: 0,
  attentionScale: 0,
  cos: halves,
  sin: halves,
  rotaryDim: 0,
  interleaved: 0,
  sections: readSections,
  sectionsInterleaved: 0,
};

/** What `rotary` takes besides x. @category Rotary */
export interface RotaryOptions<Out extends FloatRows | undefined = FloatRows | undefined> extends RotaryForm {
  /** Heads of x. */
  numHeads: number;
  /** Floats in a row of x. */
  headDim: number;
  /** Default 1. */
  batch?: number | undefined;
  /** The layout of x and out. Default "blhd". */
  layout?: Layout | undefined;
  /**
   * The positions of the rows. A number is the position of the first row of every batch entry; the next rows follow it.
   * An array has one position for each row: [seqLen], the same for every batch entry, or [batch, seqLen]. With
   * `sections` it has one for each axis and row, [axes, seqLen] or [axes, batch, seqLen], and a number stands for all
   * axes. A position is any of −2³¹ … 2³¹ − 1, with tables a row of them. Default 0.
   */
  positions?: number | Int32Array | undefined;
  /** Where to write; may be x itself. Default a fresh Float32Array. */
  out?: Out | undefined;
}

/** The options of `rotary`. */
export const ROTARY_NAMES: Names<RotaryOptions> = {
  ...FORM_NAMES,
  ...ARRANGEMENT_NAMES,
  headDim: 0,
  positions: 0,
  out: halves,
};

/** What `rotary` returns. @category Rotary */
export interface RotaryResult<Out = FloatRows | undefined> {
  /** In the shape of x. */
  out: Written<Out>;
}

/** A checked {@link RotaryForm}, with its defaults. */
export interface CheckedForm {
  rotaryDim: number;
  interleaved: boolean;
  /** Not used where there are frequencies or tables. */
  base: number;
  /** A copy of those that are given. */
  frequencies: Float64Array | undefined;
  attentionScale: number;
  /** Not multiplied by attentionScale. */
  tables: { cos: Floats; sin: Floats } | undefined;
  /** Axes of a position. */
  axes: number;
  /** [rotaryDim / 2]: the axis that turns each pair; undefined where there are no sections. */
  axisOf: Uint8Array | undefined;
}

/** Checks a form for rows of `headDim` floats. `prefix` comes before the names of options in errors. */
export function checkForm(arena: Arena, options: RotaryForm, headDim: number, prefix = ""): CheckedForm {
  const { rotaryDim = headDim, interleaved = false, base = 10000, attentionScale = 1 } = options;
  checkInteger(`${prefix}rotaryDim`, rotaryDim, 1);
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    throw wrongValue(`${prefix}rotaryDim`, `an even integer of at most ${headDim} (headDim)`, rotaryDim);
  }
  checkBoolean(`${prefix}interleaved`, interleaved);
  const half = rotaryDim / 2;
  const tables = checkTables(arena, options, half, prefix);
  const frequencies = checkFrequencies(`${prefix}frequencies`, options.frequencies, half);
  if (tables && frequencies)
    throw wrongValue(`${prefix}frequencies`, "nothing beside cos and sin", options.frequencies);
  checkFinite(`${prefix}base`, base, 0);
  if (options.base !== undefined && (tables ?? frequencies)) {
    throw wrongValue(`${prefix}base`, `nothing beside ${tables ? "cos and sin" : "frequencies"}`, base);
  }
  checkFinite(`${prefix}attentionScale`, attentionScale, 0);
  const axisOf = checkSections(options.sections, options.sectionsInterleaved, half, prefix);
  const axes = axisOf ? options.sections!.length : 1;
  return { rotaryDim, interleaved, base, frequencies, attentionScale, tables, axes, axisOf };
}

/** A copy of the frequencies of the `half` pairs of a row. Their products with a position stay below 2¹⁵⁹. */
function checkFrequencies(title: string, value: unknown, half: number): Float64Array | undefined {
  if (value === undefined) return undefined;
  const kind = isTypedArray("Float64Array", value) ? "Float64Array" : "Float32Array";
  const frequencies = new Float64Array(checkTypedArray(title, value, kind, "a Float32Array or a Float64Array"));
  checkLength(title, frequencies.length, half, "rotaryDim / 2");
  const wrong = frequencies.findIndex((frequency) => !Number.isFinite(Math.fround(frequency)));
  if (wrong >= 0) checkFinite(`${title}[${wrong}]`, frequencies[wrong]);
  return frequencies;
}

/** Checks that both tables are given or none, and that they have the same size: whole rows of `half` floats. */
function checkTables(arena: Arena, { cos, sin }: RotaryForm, half: number, prefix: string): CheckedForm["tables"] {
  if (cos === undefined && sin === undefined) return undefined;
  const checked = checkAnyFloats(`${prefix}cos`, cos, arena);
  checkRows(`${prefix}cos`, checked.length, half, "rotaryDim / 2");
  return {
    cos: checked,
    sin: checkFloatsOf(`${prefix}sin`, sin, arena, checked.length, "that of cos", checkAnyFloats),
  };
}

/** Checks that a table of `rows` rows, `what`, has one for each of the `count` positions from `first` on. */
export function checkInRows(title: string, first: number, count: number, rows: number, what: string): void {
  if (count === 0 || (first >= 0 && first + count <= rows)) return;
  throw wrongValue(title, `positions from 0 to ${rows - 1} (rows of ${what})`, first < 0 ? first : first + count - 1);
}

/** Checks that every one of `positions` is one of the `rows` of the tables; `what` names a table. */
export function checkInTables(title: string, positions: Int32Array, rows: number, what: string): void {
  const wrong = positions.findIndex((position) => position < 0 || position >= rows);
  if (wrong >= 0) checkInRows(`${title}[${wrong}]`, positions[wrong]!, 1, rows, what);
}
