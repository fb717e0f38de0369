// Numbers and tokens as they stand in a sentence.
import { clip } from "./columns.ts";

export function number(value: number): string {
  return value.toLocaleString("en-US");
}

export function count(value: number, noun: string, plural = `${noun}s`): string {
  return `${number(value)} ${value === 1 ? noun : plural}`;
}

/** Two numbers or more, in words: 1, 2 or 3. */
export function listOf(values: readonly number[], conjunction: string): string {
  return `${values.slice(0, -1).join(", ")} ${conjunction} ${values.at(-1)!}`;
}

/** What a query looks at whose weight is spread so thin that no key has 2 % of it. */
export const NONE = "many tokens, none with 2 %";

/** A token that is nothing but spaces is shown by marks. */
export function quote(label: string): string {
  return `“${clip(label.trimStart() || label.replaceAll(" ", "␣"), 24)}”`;
}

export function ordinal(n: number): string {
  const teen = n % 100 > 10 && n % 100 < 14;
  return `${number(n)}${teen ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th")}`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}

export function time(seconds: number): string {
  return seconds < 1 ? `${(seconds * 1000).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;
}

/** Three digits and a prefix: 11.5 MB. */
export function amount(value: number, unit: string): string {
  const power = Math.max(0, Math.min(4, Math.floor(Math.log10(value) / 3)));
  const size = value / 1000 ** power;
  return `${size < 100 ? Number(size.toPrecision(3)) : Math.round(size)} ${["", "k", "M", "G", "T"][power]!}${unit}`;
}
