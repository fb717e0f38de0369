import { checkBoolean, checkFinite, checkInteger, checkRows, wrongValue } from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloats, checkFloatsOf } from "../memory/data.ts";
import type { Layout } from "../memory/layout.ts";
import type { Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";

/** By which angles which floats of a row turn. */
export interface RotaryForm {
  /** Pair j at position p turns by p·base^(−2j / rotaryDim). Default 10000, without tables. */
  base?: number | undefined;
  /** Shape [maxPositions, rotaryDim / 2]: the cosine of each angle, by position. With `sin`, instead of `base`. */
  cos?: Float32Array | Tensor | undefined;
  /** Shape [maxPositions, rotaryDim / 2]: the sine of each angle. */
  sin?: Float32Array | Tensor | undefined;
  /** Floats of a row that turn, even; the rest pass through. Default headDim. */
  rotaryDim?: number | undefined;
  /** Pair j is the floats 2j and 2j + 1; else j and j + rotaryDim / 2. Default false. */
  interleaved?: boolean | undefined;
}

/** What `rotary` takes besides x. */
export interface RotaryOptions extends RotaryForm {
  /** Heads of x. */
  numHeads: number;
  /** Floats in a row of x. */
  headDim: number;
  /** Default 1. */
  batch?: number | undefined;
  /** Of x and out. Default "blhd". */
  layout?: Layout | undefined;
  /**
   * Where the rows stand: a number for the first row of every batch entry, the next ones following; or one position a row, [seqLen] for
   * every batch entry or [batch·seqLen]. With `base` any of −2³¹ … 2³¹ − 1, with tables a row of them. Default 0.
   */
  positions?: number | Int32Array | undefined;
  /** Where to write; may be x itself. Default a fresh Float32Array. */
  out?: Float32Array | Tensor | undefined;
}

/** What `rotary` returns. */
export interface RotaryResult<O extends RotaryOptions = RotaryOptions> {
  /** The shape of x. */
  out: Written<O["out"]>;
}

/** A checked form. */
export interface CheckedForm {
  rotaryDim: number;
  interleaved: boolean;
  base: number;
  /** Instead of base. */
  tables: { cos: Floats; sin: Floats } | undefined;
}

/** Checks what is turned and by which angles; `of` comes before the names in errors. */
export function checkForm(arena: Arena, options: RotaryForm, headDim: number, of = ""): CheckedForm {
  const { rotaryDim = headDim, interleaved = false } = options;
  checkInteger(`${of}rotaryDim`, rotaryDim, 1);
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    throw wrongValue(`${of}rotaryDim`, `an even integer of at most ${headDim} (headDim)`, rotaryDim);
  }
  checkBoolean(`${of}interleaved`, interleaved);
  const tables = checkTables(arena, options, rotaryDim / 2, of);
  const base = options.base === undefined ? 10000 : checkFinite(`${of}base`, options.base, 0);
  if (tables && options.base !== undefined) throw wrongValue(`${of}base`, "nothing beside cos and sin", base);
  return { rotaryDim, interleaved, base, tables };
}

/** Both tables or none. */
function checkTables(arena: Arena, { cos, sin }: RotaryForm, half: number, of: string): CheckedForm["tables"] {
  if (cos === undefined && sin === undefined) return undefined;
  const checked = checkFloats(`${of}cos`, cos, arena);
  checkRows(`${of}cos`, checked.length, half, "rotaryDim / 2");
  return { cos: checked, sin: checkFloatsOf(`${of}sin`, sin, arena, checked.length, "that of cos") };
}
