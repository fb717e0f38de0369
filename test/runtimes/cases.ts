// What every host must do: the same cases in each of them, against the package as it is packed. esbuild makes one plain
// module of this file, which a host runs beside the installed package; "heed-again" is a second copy of it.
import { load } from "heed";
import { blockCases } from "./cases/blocks.ts";
import { errorCases } from "./cases/errors.ts";
import type { Cases } from "./cases/expect.ts";
import { functionCases } from "./cases/functions.ts";
import { loadCases } from "./cases/load.ts";
import { optionCases } from "./cases/options.ts";
import { threadCases } from "./cases/threads.ts";

export const cases: Cases = {
  ...optionCases,
  ...functionCases,
  ...errorCases,
  ...loadCases,
  ...threadCases,
  ...blockCases,
};

/** What a host answers. */
export interface Report {
  variant: string;
  /** By name of the case: null where it passed, else the error. */
  results: Record<string, string | null>;
}

export async function runCases(): Promise<Report> {
  const results: Report["results"] = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      await run();
      results[name] = null;
    } catch (error) {
      results[name] = error instanceof Error ? `${String(error)}\n${error.stack ?? ""}` : String(error);
    }
  }
  const heed = await load();
  const { variant } = heed;
  heed.dispose();
  return { variant, results };
}
