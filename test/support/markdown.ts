// What the documentation test reads in a Markdown page: its fenced code, its headings and its links.

/** A fenced block of code. */
export interface Fence {
  language: string;
  code: string;
  /** The line of the page, from 1 on, that the code begins at. */
  line: number;
  /** What `<!-- not run: why -->` or `<!-- not checked: why -->` on the line above the block says. */
  mark: { kind: "not run" | "not checked"; why: string } | undefined;
}

export interface Link {
  target: string;
  line: number;
}

export interface Page {
  path: string;
  lines: string[];
  fences: Fence[];
  /** The anchors of the headings, as GitHub and the site make them. */
  anchors: string[];
  links: Link[];
}

const MARK = /^<!-- (not run|not checked): (.+) -->$/;

export function parsePage(path: string, text: string): Page {
  const lines = text.split("\n");
  const page: Page = { path, lines, fences: [], anchors: [], links: [] };
  for (let i = 0; i < lines.length; i++) {
    const fence = /^( *)(`{3,}|~{3,})(\w*)/.exec(lines[i]!);
    if (!fence) {
      readProse(page, lines[i]!, i + 1);
      continue;
    }
    const [, indent, marker, language] = fence as unknown as [string, string, string, string];
    const end = lines.findIndex((line, n) => n > i && line.trim() === marker);
    if (end < 0) throw new Error(`${path}:${i + 1}: the block of code has no end`);
    const code = lines.slice(i + 1, end).map((line) => line.slice(indent.length));
    page.fences.push({ language, code: code.join("\n"), line: i + 2, mark: markAbove(lines, i) });
    i = end;
  }
  return page;
}

/** What the nearest line above that is not blank says of a block. */
function markAbove(lines: readonly string[], at: number): Fence["mark"] {
  const above = lines
    .slice(0, at)
    .filter((line) => line.trim() !== "")
    .at(-1);
  const [, kind, why] = MARK.exec(above?.trim() ?? "") ?? [];
  return kind === undefined ? undefined : { kind: kind as "not run", why: why! };
}

function readProse(page: Page, line: string, number: number): void {
  const heading = /^#{1,6} (.*)$/.exec(line);
  if (heading) page.anchors.push(anchorOf(heading[1]!));
  // What stands in code is no link.
  const prose = line.replaceAll(/`[^`]*`/g, "code");
  for (const [, target] of prose.matchAll(/\]\(([^)\s]+)[^)]*\)/g)) page.links.push({ target: target!, line: number });
  for (const [, target] of prose.matchAll(/\b(?:src|href)="([^"]+)"/g)) {
    page.links.push({ target: target!, line: number });
  }
  const reference = /^\[[^\]]+\]: (\S+)/.exec(prose);
  if (reference) page.links.push({ target: reference[1]!, line: number });
}

/** A heading as GitHub makes it an anchor: letters, digits and hyphens, in lower case. */
export function anchorOf(heading: string): string {
  return heading
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}
