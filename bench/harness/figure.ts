import { formatTable, milliseconds } from "./report.ts";

/** A figure that should stay within a bound, whatever the machine. */
export interface Figure {
  variant: string;
  what: string;
  value: number;
  unit: string;
  /** "≤ 0.58", or empty where nothing is promised. */
  bar: string;
  holds: boolean;
}

export function formatFigures(figures: readonly Figure[]): string {
  return formatTable(
    ["", "", "measured", "bar", ""],
    figures.map(({ variant, what, value, unit, bar, holds }) => [
      variant,
      what,
      `${Math.abs(value) < 1 ? value.toFixed(3) : milliseconds(value)} ${unit}`,
      bar,
      bar === "" || holds ? bar && "ok" : bar.startsWith("≥") ? "below" : "above",
    ]),
    2,
  );
}
