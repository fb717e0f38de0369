// The head of a run, and the file that its results go to.
import { mkdir, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname } from "node:path";
import { progress } from "./harness/report.ts";

const cpu = cpus()[0]?.model.trim();

/** `Node 24.21.0, AMD EPYC, one thread, f32` */
export function headOf(threads: string): string {
  return `Node ${process.versions.node}, ${cpu ?? "unknown CPU"}, ${threads}, f32`;
}

/** A table under its title. */
export function print(title: string, table: string): void {
  progress("");
  console.log(`\n${title}\n${table}`);
}

/** Writes the results of a run that began at `started`, with when and where it was, and says so. */
export async function writeRun(file: string, started: number, results: object): Promise<void> {
  const seconds = (performance.now() - started) / 1000;
  const run = { date: new Date().toISOString(), node: process.versions.node, cpu, seconds, ...results };
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(run, undefined, 2)}\n`);
  console.log(`\n${seconds.toFixed(0)} s; written to ${file}`);
}
