import { type Heed, load } from "heed";
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

/** An instance of every build that this engine runs, and why the others do not. */
export async function loadBuilds(): Promise<{ builds: Heed[]; skipped: string[] }> {
  const builds: Heed[] = [];
  const skipped: string[] = [];
  for (const variant of ["relaxed", "simd"] as const) {
    try {
      builds.push(await load({ variant }));
    } catch (error) {
      skipped.push(`heed ${variant} skipped: ${messageOf(error)}`);
    }
  }
  return { builds, skipped };
}
