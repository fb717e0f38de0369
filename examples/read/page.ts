// The report as a page: that of examples/lens, with the text that was read inside.
import { readFileSync, writeFileSync } from "node:fs";
import { reason, TextError } from "./text.ts";

export interface PageSource {
  title: string;
  text: string;
  /** Tokens read at most. */
  limit: number;
  /** The first token of the passage that is shown at first. */
  start: number;
}

const SOURCE = /(<script type="application\/json" id="source">)[^<]*(<\/script>)/;

/** Writes one file that needs no other: the page that the build left beside this program. */
export function writePage(file: string, source: PageSource): void {
  const page = readFileSync(new URL("lens.html", import.meta.url), "utf8");
  const json = JSON.stringify(source).replaceAll("<", "\\u003c");
  try {
    writeFileSync(
      file,
      page.replace(SOURCE, (_, open: string, close: string) => open + json + close),
    );
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === "ENOENT" ? "no such folder" : reason(error);
    throw new TextError(`cannot write ${JSON.stringify(file)}: ${why}`);
  }
}
