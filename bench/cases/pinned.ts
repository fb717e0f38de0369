// node pinned.js KIB QUICK, bound to one processor with KIB of second-level cache: times heed beside walkers, which are
// bound like it, and prints the rows. Processor time of this process alone counts, so that what the walkers take for
// themselves does not.
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { Contender } from "../harness/entrant.ts";
import { median, runFor } from "../harness/measure.ts";
import { makeProblem, shape } from "../harness/problem.ts";
import { loadBuilds } from "../peers/heed.ts";
import { attentionContenders } from "../peers/heed-contenders.ts";
import { type CacheRow, cachesBelow } from "./small-caches-report.ts";

const SHAPES = ["1×12×512×512×64", "1×8×2048×2048×128"];
/** What the other walkers are compared with: it disturbs as often, and takes the first-level cache alone. */
const FIRST_LEVEL_KIB = 32;
const WARM_UP_MS = 300;
const TURN_MS = 200;

/** A walker that stands still until it is let go. */
class Walker {
  readonly kib: number;
  readonly #child: ChildProcess;
  #walks = 0;

  private constructor(kib: number, child: ChildProcess) {
    this.kib = kib;
    this.#child = child;
    child.on("message", ({ walks }: { walks: number }) => (this.#walks += walks));
  }

  static async start(kib: number): Promise<Walker> {
    const walker = new Walker(kib, fork(join(import.meta.dirname, "walker.js"), [String(kib * 1024)]));
    await new Promise((resolve) => walker.#child.once("message", resolve));
    walker.#child.kill("SIGSTOP");
    return walker;
  }

  /** A turn of calls while it walks: processor milliseconds a call, and walks a millisecond. */
  async beside(contender: Contender): Promise<{ ms: number; walksPerMs: number }> {
    this.#child.kill("SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, 5));
    const [walks, start, usage] = [this.#walks, performance.now(), process.cpuUsage()];
    const calls = await runFor(contender, TURN_MS);
    const { user, system } = process.cpuUsage(usage);
    const wall = performance.now() - start;
    // What it has sent meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 1));
    this.#child.kill("SIGSTOP");
    return { ms: (user + system) / 1000 / calls.length, walksPerMs: (this.#walks - walks) / wall };
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

const [kib, quick] = [Number(process.argv[2]), process.argv[3] === "true"];
const rounds = quick ? 3 : 9;
const caches = cachesBelow(kib);
const control = await Walker.start(FIRST_LEVEL_KIB);
const walkers = await Promise.all(caches.map(({ walkedKib }) => Walker.start(walkedKib)));
const rows: CacheRow[] = [];
const { builds } = await loadBuilds();
for (const dims of quick ? SHAPES.slice(0, 1) : SHAPES) {
  const problem = makeProblem(shape(dims));
  for (const heed of builds) {
    const contenders = attentionContenders(heed, problem);
    const resident = contenders.find(({ name }) => name.endsWith("resident"))!;
    await runFor(resident, WARM_UP_MS);
    const alone: number[] = [];
    const beside = walkers.map(() => ({ ms: [] as number[], rates: [] as number[] }));
    for (let round = 0; round < rounds; round++) {
      alone.push((await control.beside(resident)).ms);
      for (const [n, walker] of walkers.entries()) {
        const { ms, walksPerMs } = await walker.beside(resident);
        beside[n]!.ms.push(ms);
        beside[n]!.rates.push(walksPerMs);
      }
    }
    for (const [n, cache] of caches.entries()) {
      rows.push({
        what: `${resident.name}, ${dims}`,
        ...cache,
        aloneMs: median(alone),
        besideMs: median(beside[n]!.ms),
        walksPerMs: median(beside[n]!.rates),
      });
    }
    for (const contender of contenders) contender.dispose?.();
  }
}
for (const walker of [control, ...walkers]) walker.end();
for (const heed of builds) heed.dispose();
process.stdout.write(JSON.stringify(rows));
