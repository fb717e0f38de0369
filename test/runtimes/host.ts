import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import type { Report } from "./cases.ts";
import { project } from "./project.ts";

const { cases } = (await import(pathToFileURL(join(project, "cases.js")).href)) as { cases: object };

/** A host as the table of docs/hosts.md names it. */
export interface Host {
  name: string;
  /** How heed gets there. */
  how: string;
  version: string;
  /** Whether the system brings it, in a version of its own choice. */
  isSystem?: boolean;
}

/**
 * Describes the cases for a host: `run` runs them there and gives its report. Without `run` they are skipped, for a
 * reason that the name says.
 */
export function describeHost(host: Host, run: (() => Promise<Report>) | undefined): void {
  describe.skipIf(!run)(`${host.name}, ${host.how}${run ? "" : " (not installed)"}`, () => {
    let report: Promise<Report>;
    beforeAll(async () => {
      report = run!();
      // Every case fails where the host as a whole does.
      await report.then(
        (done) => record(host, done),
        () => undefined,
      );
    }, 120_000);
    it.each(Object.keys(cases))("%s", async (name) => expect((await report).results[name]).toBeNull());
  });
}

/** For tables.js. */
export function record(host: Host, { variant, results }: Report): void {
  const failed = Object.values(results).filter((error) => error !== null).length;
  const row = { ...host, variant, passed: Object.keys(results).length - failed, failed };
  const file = `${host.name}, ${host.how}`.replaceAll(/[^\w.]+/g, "-");
  writeFileSync(join(process.env.HEED_HOSTS!, `${file}.json`), `${JSON.stringify(row)}\n`);
}
