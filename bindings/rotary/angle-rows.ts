import { writeCosinesAndSines } from "./trigonometry.ts";

/** What cosines and sines are made of. */
export interface AngleRule {
  /** [half], radians a position; undefined where there are tables. */
  readonly frequencies: Float64Array | undefined;
  /** [positions, half] each. */
  readonly tables: { readonly cos: Float32Array; readonly sin: Float32Array } | undefined;
  /** All cosines and sines are multiplied by it. */
  readonly scale: number;
  /** [half]: the axis whose position turns each pair; undefined where there is one axis. */
  readonly axisOf: Uint8Array | undefined;
}

/**
 * Writes the cosines and the sines of rows at any positions, [rows][half] each. Row n has the position
 * positions[from + n + a·axisStride] on axis a.
 */
export function writeAngleRows(
  cosines: Float32Array,
  sines: Float32Array,
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
      writeCosinesAndSines(cosines, sines, offset, positions[at]!, frequencies!, scale);
      continue;
    }
    for (let j = 0; j < half; j++) {
      const position = positions[axisOf ? at + axisOf[j]! * axisStride : at]!;
      if (tables) {
        cosines[offset + j] = tables.cos[position * half + j]! * scale;
        sines[offset + j] = tables.sin[position * half + j]! * scale;
      } else angles![j] = position * frequencies![j]!;
    }
    if (!tables) writeCosinesAndSines(cosines, sines, offset, 1, angles!, scale);
  }
}
