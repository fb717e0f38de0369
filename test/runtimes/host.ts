import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import type { Report } from "./cases.ts";

/** Where heed is installed from its tarball, beside the cases and the programs of the hosts; start.js makes it. */
export const project = process.env.HEED_PROJECT ?? "";
if (!existsSync(project))
  throw new Error("run this by `npm run test:runtimes` or `npm run test:browsers`, which pack heed first");

const { cases } = (await import(pathToFileURL(join(project, "cases.js")).href)) as { cases: object };

/** A host as the README's table names it. */
export interface Host {
  name: string;
  /** How heed gets there. */
  how: string;
  version: string;
  /** Whether the system brings it, in a version of its own choice. */
  isSystem?: boolean;
}

/** Describes the cases for a host: `run` runs them there and gives its report. Without `run` they are skipped, for a reason that the name says. */
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

/** For readme.js. */
export function record(host: Host, { variant, results }: Report): void {
  const failed = Object.values(results).filter((error) => error !== null).length;
  const row = { ...host, variant, passed: Object.keys(results).length - failed, failed };
  const file = `${host.name}, ${host.how}`.replaceAll(/[^\w.]+/g, "-");
  writeFileSync(join(process.env.HEED_HOSTS!, `${file}.json`), `${JSON.stringify(row)}\n`);
}

/** What a program prints. */
export function output(program: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { cwd: project, env: { ...process.env, NODE_OPTIONS: "", ...env }, maxBuffer: 1e8 };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error) reject(new Error(`${error.message}\n${stderr}`));
      else resolve(stdout);
    });
  });
}

/** Runs a program that prints a report. */
export async function reportOf(program: string, args: string[]): Promise<Report> {
  return JSON.parse(await output(program, args)) as Report;
}

/** A path of what test/runtimes/package.json installs. */
export const installed = (path: string): string => join(import.meta.dirname, "node_modules", path);
