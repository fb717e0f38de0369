// How wide text stands in a terminal.

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}\ufe0f]$/u;
const EMOJI = /^\p{Emoji_Presentation}$/u;
/** East Asian wide and fullwidth, by the blocks of Unicode's EastAsianWidth.txt. */
const WIDE = new RegExp(
  String.raw`^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f` +
    String.raw`\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6` +
    String.raw`\u{17000}-\u{18aff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]$`,
  "u",
);

/** Columns that a character takes in a terminal: 0, 1 or 2. */
export function charWidth(char: string): number {
  if (ZERO_WIDTH.test(char)) return 0;
  return EMOJI.test(char) || WIDE.test(char) ? 2 : 1;
}

/** Columns that a text takes in a terminal. It must hold no colour codes. */
export function textWidth(text: string): number {
  let width = 0;
  for (const char of text) width += charWidth(char);
  return width;
}

/** The text cut to at most `width` columns, the last an ellipsis where something went. */
export function clip(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let kept = "";
  let used = 0;
  for (const char of text) {
    used += charWidth(char);
    if (used > width - 1) break;
    kept += char;
  }
  return `${kept}…`;
}

/** The text followed by as many spaces as make it `width` columns. */
export function padTo(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - textWidth(text)));
}

/** A space at which a line may end: not behind a number, which stays with its unit or what it counts. */
const BREAK = /(?<!(?:^|[ (])[\d.,]*\d) (?!%)/;

/** Words in lines of at most `width` columns. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(BREAK)) {
    if (line !== "" && textWidth(line) + 1 + textWidth(word) > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
