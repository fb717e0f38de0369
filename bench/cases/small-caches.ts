// heed on one processor beside a walker that takes a part of its second-level cache away. taskset binds both to the
// same one: pinned.ts is the program there.
import { execFile } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { messageOf } from "../harness/report.ts";
import type { CacheRow } from "./small-caches-report.ts";

/** The rows, or why there are none. */
export async function measureSmallCaches(quick: boolean): Promise<CacheRow[] | string> {
  const kib = secondLevelKib();
  if (kib === undefined) return "only Linux says how large the second-level cache is and binds programs to a processor";
  const processor = lastProcessor();
  const program = join(import.meta.dirname, "pinned.js");
  const flags = process.execArgv.filter((flag) => flag.startsWith("--experimental"));
  const args = ["-c", processor, process.execPath, ...flags, program, String(kib), String(quick)];
  try {
    const { stdout } = await promisify(execFile)("taskset", args);
    return JSON.parse(stdout) as CacheRow[];
  } catch (error) {
    return `taskset: ${messageOf(error)}`;
  }
}

/** KiB of the second-level cache of a processor, where Linux says so. */
function secondLevelKib(): number | undefined {
  const caches = "/sys/devices/system/cpu/cpu0/cache";
  if (!existsSync(caches)) return undefined;
  const read = (index: string, name: string): string => readFileSync(join(caches, index, name), "utf8").trim();
  const index = readdirSync(caches).find((one) => one.startsWith("index") && read(one, "level") === "2");
  const kib = index && Number.parseInt(read(index, "size"));
  return kib || undefined;
}

/** The last one of the processors that this process may use. */
function lastProcessor(): string {
  return /Cpus_allowed_list:.*?(\d+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
}
