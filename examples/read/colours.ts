// Colours, wherever they are shown.
export type Rgb = readonly [red: number, green: number, blue: number];

/** One colour a head, in their order. */
export const HEAD_COLOURS: readonly Rgb[] = [
  [72, 149, 239],
  [240, 168, 48],
  [46, 196, 120],
  [214, 93, 177],
];

/** The colour a share t of the way from a to b. */
export function mix(a: Rgb, b: Rgb, t: number): Rgb {
  return [0, 1, 2].map((c) => Math.round(a[c]! + (b[c]! - a[c]!) * t)) as unknown as Rgb;
}
