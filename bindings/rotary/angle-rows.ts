import { writeCosinesAndSines } from "./trigonometry.ts";

/** Floats of 32 bits, or the bits of such of 16. */
type Elements = Float32Array | Uint16Array;

/** What cosines and sines are made of. */
export interface AngleRule {
  /** [half], radians a position; undefined where there are tables. */
  readonly frequencies: Float64Array | undefined;
  /** [positions, half] each. */
  readonly tables: { readonly cos: Elements; readonly sin: Elements } | undefined;
  /** All cosines and sines are multiplied by it. */
  readonly scale: number;
  /** [half]: the axis whose position turns each pair; undefined where there is one axis. */
  readonly axisOf: Uint8Array | undefined;
}

/**
 * Writes the cosines and the sines of rows at any positions, [rows][half] each. Row n has the position
 * positions[from + n + a·axisStride] on axis a. Of tables of 16 bits the bits are copied, with a scale of 1.
 */
export function writeAngleRows(
  cosines: Elements,
  sines: Elements,
  { frequencies, tables, scale, axisOf }: AngleRule,
  positions: ArrayLike<number>,
  from: number,
  rows: number,
  axisStride: number,
): void {
  const half = rows && cosines.length / rows;
  const angles = axisOf && new Float64Array(half);
  for (let row = 0; row < rows; row++) {
    const offset = row * half;
    const at = from + row;
    if (!tables && !axisOf) {
      writeCosinesAndSines(cosines as Float32Array, sines as Float32Array, offset, positions[at]!, frequencies!, scale);
      continue;
    }
    for (let j = 0; j < half; j++) {
      const position = positions[axisOf ? at + axisOf[j]! * axisStride : at]!;
      if (tables) {
        cosines[offset + j] = tables.cos[position * half + j]! * scale;
        sines[offset + j] = tables.sin[position * half + j]! * scale;
      } else angles![j] = position * frequencies![j]!;
    }
    if (!tables) writeCosinesAndSines(cosines as Float32Array, sines as Float32Array, offset, 1, angles!, scale);
  }
}
