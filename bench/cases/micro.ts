// What the machine can do, and how close heed comes: multiply-adds on registers alone, bare register tiles, and heed at
// a shape that is nearly all tile.
import type { Heed } from "heed";
import type { Contender, Entrant } from "../harness/entrant.ts";
import { LIMIT_FLOPS, type Step, makeLimit } from "../harness/limit.ts";
import { type Effort, measure } from "../harness/measure.ts";
import { flops, makeProblem } from "../harness/problem.ts";
import { messageOf } from "../harness/report.ts";
import { startTeam } from "../harness/team.ts";
import { STEPS, type Tile, nameOfTile, tileArguments, tileFlops, tileWat } from "../harness/tile.ts";
import { assemble } from "../harness/wat.ts";
import { insideOf, loadBuilds } from "../peers/heed.ts";
import { attentionContenders } from "../peers/heed-contenders.ts";
import { type MicroEntry, type MicroRow, microRows } from "./micro-report.ts";
import { MICRO_SHAPE } from "./shapes.ts";

/** Rows and vectors of the tiles that have been tried (docs/decisions/register-tiles.md). */
const TILES = [
  [2, 4],
  [3, 3],
  [4, 2],
  [6, 2],
] as const;

/** The rows, the limit first, and what could not run here. */
export async function measureMicro(
  effort: Effort,
  say: (text: string) => void,
): Promise<{ rows: MicroRow[]; skipped: string[] }> {
  const entries: MicroEntry[] = [];
  const entrants: Entrant[] = [];
  const skipped: string[] = [];
  const add = (entry: MicroEntry, runner: Pick<Entrant, "run">): void => {
    entries.push(entry);
    entrants.push({ name: entry.what, form: "", kind: "limit", run: () => runner.run() });
  };
  const attempt = async (what: string, make: () => Promise<void>): Promise<void> => {
    try {
      await make();
    } catch (error) {
      skipped.push(`${what} skipped: ${messageOf(error)}`);
    }
  };

  for (const step of ["relaxed_madd", "mul + add"] satisfies Step[]) {
    const what = `registers alone, ${step}`;
    await attempt(what, async () => {
      const limit = await makeLimit({ step });
      add({ what, kind: "limit", flops: LIMIT_FLOPS }, limit);
    });
  }
  for (const step of STEPS) {
    for (const [rows, vectors] of TILES) {
      const tile: Tile = { rows, vectors, step };
      const what = nameOfTile(tile);
      await attempt(what, async () => {
        const team = await startTeam(await assemble("tile", tileWat(tile)), "spin", tileArguments(tile), 1);
        add({ what, kind: "tile", flops: tileFlops(tile) }, team);
      });
    }
  }
  const { builds, skipped: unable } = await loadBuilds();
  skipped.push(...unable);
  const problem = makeProblem(MICRO_SHAPE);
  const contenders: Contender[] = [];
  for (const heed of builds) {
    for (const contender of attentionContenders(heed, problem)) {
      const what = `${contender.name}, ${MICRO_SHAPE.name}`;
      add({ what, kind: "heed", flops: flops(problem), tile: tileOf(heed) }, contender);
      contenders.push(contender);
    }
  }
  const timings = await measure(entrants, effort, say);
  for (const contender of contenders) contender.dispose?.();
  for (const heed of builds) heed.dispose();
  return { rows: microRows(entries, timings), skipped };
}

/** The tile that a build of heed uses in this engine; assembly/simd/gemm.ts says why. */
function tileOf(heed: Heed): string {
  if (heed.variant === "simd") return nameOfTile({ rows: 2, vectors: 4, step: "mul + add" });
  const [rows, vectors] = insideOf(heed).useTile6x2 ? [6, 2] : [2, 4];
  return nameOfTile({ rows, vectors, step: "relaxed_madd" });
}
