import { checkBoolean, checkFinite, checkInteger, checkRows, wrongValue } from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloats, checkFloatsOf } from "../memory/data.ts";
import { ARRANGEMENT_NAMES, type Layout } from "../memory/layout.ts";
import type { Rows, Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import type { Names } from "../options.ts";

/** Which pairs of floats of a row are rotated, and by which angles. @category Rotary */
export interface RotaryForm {
  /** Pair j at position p is rotated by the angle p·base^(−2j / rotaryDim). Default 10000, unless tables are given. */
  base?: number | undefined;
  /** [maxPositions, rotaryDim / 2]: the cosines of the angles of each position. With `sin`, instead of `base`. */
  cos?: Float32Array | Tensor | undefined;
  /** [maxPositions, rotaryDim / 2]: the sines. */
  sin?: Float32Array | Tensor | undefined;
  /** How many floats of a row are rotated: an even number. The rest stay as they are. Default headDim. */
  rotaryDim?: number | undefined;
  /** True: pair j is the floats 2j and 2j + 1. False: the floats j and j + rotaryDim / 2. Default false. */
  interleaved?: boolean | undefined;
}

/** The options of a {@link RotaryForm}. */
export const FORM_NAMES: Names<RotaryForm> = { base: 0, cos: 0, sin: 0, rotaryDim: 0, interleaved: 0 };

/** What `rotary` takes besides x. @category Rotary */
export interface RotaryOptions<Out extends Rows | undefined = Rows | undefined> extends RotaryForm {
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
   * An array has one position for each row: [seqLen], the same for every batch entry, or [batch·seqLen]. With `base` a
   * position is any of −2³¹ … 2³¹ − 1, with tables a row of them. Default 0.
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
  out: 0,
};

/** What `rotary` returns. @category Rotary */
export interface RotaryResult<Out = Rows | undefined> {
  /** In the shape of x. */
  out: Written<Out>;
}

/** A checked {@link RotaryForm}, with its defaults. */
export interface CheckedForm {
  rotaryDim: number;
  interleaved: boolean;
  /** Not used where there are tables. */
  base: number;
  tables: { cos: Floats; sin: Floats } | undefined;
}

/** Checks a form for rows of `headDim` floats. `prefix` comes before the names of options in errors. */
export function checkForm(arena: Arena, options: RotaryForm, headDim: number, prefix = ""): CheckedForm {
  const { rotaryDim = headDim, interleaved = false, base = 10000 } = options;
  checkInteger(`${prefix}rotaryDim`, rotaryDim, 1);
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    throw wrongValue(`${prefix}rotaryDim`, `an even integer of at most ${headDim} (headDim)`, rotaryDim);
  }
  checkBoolean(`${prefix}interleaved`, interleaved);
  const tables = checkTables(arena, options, rotaryDim / 2, prefix);
  checkFinite(`${prefix}base`, base, 0);
  if (tables && options.base !== undefined) throw wrongValue(`${prefix}base`, "nothing beside cos and sin", base);
  return { rotaryDim, interleaved, base, tables };
}

/** Checks that both tables are given or none, and that they have the same size: whole rows of `half` floats. */
function checkTables(arena: Arena, { cos, sin }: RotaryForm, half: number, prefix: string): CheckedForm["tables"] {
  if (cos === undefined && sin === undefined) return undefined;
  const checked = checkFloats(`${prefix}cos`, cos, arena);
  checkRows(`${prefix}cos`, checked.length, half, "rotaryDim / 2");
  return { cos: checked, sin: checkFloatsOf(`${prefix}sin`, sin, arena, checked.length, "that of cos") };
}

/** Checks that a table of `rows` rows, `what`, has one for each of the `count` positions from `first` on. */
export function checkInRows(title: string, first: number, count: number, rows: number, what: string): void {
  if (count === 0 || (first >= 0 && first + count <= rows)) return;
  throw wrongValue(title, `positions from 0 to ${rows - 1} (rows of ${what})`, first < 0 ? first : first + count - 1);
}
