import { type Heed, load } from "heed";
import type { Instance } from "../../bindings/engine/instance.ts";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { messageOf } from "../harness/report.ts";
import { attentionContenders } from "./heed-contenders.ts";
import type { Peer } from "./peer.ts";

export type Variant = "relaxed" | "simd";

export async function loadHeed(variant: Variant): Promise<Peer> {
  const heed = await load({ variant });
  return {
    name: `heed ${variant}`,
    version: "this build",
    prepare: (problem) => attentionContenders(heed, problem),
  };
}

/** The kernels, the memory and the threads of an instance. */
export function insideOf(heed: Heed): Instance {
  return heed[INSTANCE];
}

/** An instance of every build that this engine runs, with as many threads each, and why the others are not there. */
export async function loadBuilds(threads = 1): Promise<{ builds: Heed[]; skipped: string[] }> {
  const builds: Heed[] = [];
  const skipped: string[] = [];
  for (const variant of ["relaxed", "simd"] as const) {
    try {
      const heed = await load({ variant, threads });
      if (heed.threads !== threads) throw new Error(heed.threadsReason);
      builds.push(heed);
    } catch (error) {
      skipped.push(`heed ${variant}${threads > 1 ? `, ${threads} threads,` : ""} skipped: ${messageOf(error)}`);
    }
  }
  return { builds, skipped };
}
