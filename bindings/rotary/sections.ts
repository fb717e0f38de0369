import { checkBoolean, checkInteger, wrongKind, wrongValue } from "../check.ts";
import { list } from "../options.ts";

/** The most axes that a position has. */
const MAX_AXES = 16;

/** Reads the option `sections`. */
export const readSections = (value: unknown): unknown => list(value, MAX_AXES + 1);

/**
 * Which axis of a position turns each pair, [half]. Section s is sections[s] pairs: those that follow the pairs of
 * section s − 1 or, `interleaved`, every axes-th pair from pair s on, where axis 0 has the pairs that are left.
 *
 * @returns undefined without `sections`
 * @throws TypeError for the wrong kind, RangeError for sections that are not the `half` pairs of a row
 */
export function checkSections(
  sections: unknown,
  interleaved: unknown,
  half: number,
  prefix: string,
): Uint8Array | undefined {
  if (sections === undefined && interleaved === undefined) return undefined;
  const title = `${prefix}sections`;
  const isInterleaved = checkBoolean(`${prefix}sectionsInterleaved`, interleaved ?? false);
  if (sections === undefined && !isInterleaved) return undefined;
  if (!Array.isArray(sections)) throw wrongKind(title, "an array of integers", sections);
  const axes = checkInteger(`${title}.length`, sections.length, 1, MAX_AXES);
  let sum = 0;
  for (let axis = 0; axis < axes; axis++) {
    const most = isInterleaved && axis > 0 ? Math.ceil((half - axis) / axes) : half;
    sum += checkInteger(`${title}[${axis}]`, sections[axis], 0, Math.max(0, most));
  }
  if (sum !== half) throw wrongValue(title, `a sum of ${half} (rotaryDim / 2)`, sum);
  const axisOf = new Uint8Array(half);
  for (let axis = 0, from = 0; axis < axes; axis++) {
    const pairs = sections[axis] as number;
    if (!isInterleaved) axisOf.fill(axis, from, (from += pairs));
    else for (let n = 0; n < pairs && axis > 0; n++) axisOf[axis + n * axes] = axis;
  }
  return axisOf;
}
