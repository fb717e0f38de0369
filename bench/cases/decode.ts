// The table of decoding: one query a head against a resident KV cache. The work is to read K and V once, so the limit
// is the rate of reading.
import { type Dtype, load } from "heed";
import { check } from "../harness/check.ts";
import type { Contender } from "../harness/entrant.ts";
import { type Effort, type Timing, measure } from "../harness/measure.ts";
import { type Problem, makeProblem, shape } from "../harness/problem.ts";
import { makeReference, maxError } from "../harness/reference.ts";
import { type Bar, formatBars, formatTable, milliseconds } from "../harness/report.ts";
import { STREAM_BYTES, makeStream } from "../harness/stream.ts";
import type { Variant } from "../peers/heed.ts";
import { decodeContender } from "../peers/heed-contenders.ts";
import type { Peer } from "../peers/peer.ts";
import { DECODE_CASES, GQA, MHA, SMALL } from "./shapes.ts";

/** A line of the table. */
export interface DecodeRow {
  shape: string;
  name: string;
  form: string;
  /** Milliseconds a token, median. */
  median: number;
  tokensPerSecond: number;
  /** 10⁹ bytes of K and V a second, and as a share of the streaming read in the same rounds. */
  gigabytesPerSecond: number;
  percentOfStream: number;
  maxError: number;
}

export async function measureDecode(
  effort: Effort,
  variant: Variant,
  peers: readonly Peer[],
  progress: (text: string) => void,
): Promise<{ rows: DecodeRow[]; bars: Bar[]; skipped: string[] }> {
  const heed = await load({ variant });
  const stream = await makeStream();
  const rows: DecodeRow[] = [];
  const skipped: string[] = [];
  for (const { dims, dtypes } of DECODE_CASES) {
    const say = (text: string): void => progress(`decode ${dims}: ${text}`);
    const problem = makeProblem(shape(dims));
    const reference = makeReference(problem);
    const contenders = dtypes.map((dtype): Reader => {
      const contender = decodeContender(heed, problem, dtype);
      return { ...contender, bytes: contender.cacheBytes, lossy: dtype !== "f32" };
    });
    for (const peer of peers) contenders.push(...(await withBytes(peer, problem)));

    // f16 and int8 are exact attention over rounded keys; the tests bound how far off that is.
    const judge = (out: Float32Array, { lossy }: Reader) => ({
      error: maxError(out, reference),
      atMost: lossy ? 0.05 : reference.tolerance,
    });
    const { right, errors, skipped: wrong } = await check(contenders, judge, say);
    skipped.push(...wrong.map((text) => `${dims}: ${text}`));
    const timings = await measure([...right, stream], effort, say);
    const limit = STREAM_BYTES / timings.find(({ kind }) => kind === "limit")!.median / 1e6;
    for (const timing of timings) {
      const { bytes } = right.find(({ name }) => name === timing.name) ?? { bytes: STREAM_BYTES };
      rows.push(rowOf(dims, timing, bytes, limit, errors.get(timing.name) ?? 0));
    }
    for (const contender of contenders) await contender.dispose?.();
  }
  stream.dispose();
  heed.dispose();
  return { rows, bars: barsOf(rows), skipped };
}

/** A contender, how many bytes of K and V it reads, and whether these are rounded. */
type Reader = Contender & { bytes: number; lossy: boolean };

/** Bytes of K and V in f32. */
export function bytesOf({ k, v }: Problem): number {
  return (k.length + v.length) * 4;
}

async function withBytes(peer: Peer, problem: Problem): Promise<Reader[]> {
  const contenders = await peer.prepare(problem);
  return contenders.map((contender) => ({ ...contender, bytes: bytesOf(problem), lossy: false }));
}

function rowOf(
  dims: string,
  { name, form, median }: Timing,
  bytes: number,
  limit: number,
  maxError: number,
): DecodeRow {
  const rate = bytes / median / 1e6;
  const percentOfStream = (100 * rate) / limit;
  const tokensPerSecond = 1000 / median;
  return { shape: dims, name, form, median, tokensPerSecond, gigabytesPerSecond: rate, percentOfStream, maxError };
}

function barsOf(rows: readonly DecodeRow[]): Bar[] {
  const bars: Bar[] = [];
  const find = (dims: string, name: `heed ${Dtype}` | "onnxruntime-web" | "onnxruntime-node") =>
    rows.find((row) => row.shape === dims && row.name === name);
  const add = (what: string, slow: DecodeRow | undefined, fast: DecodeRow | undefined, atLeast: number): void => {
    if (slow && fast) bars.push({ what, value: slow.median / fast.median, atLeast });
  };
  const [small, full] = [find(SMALL, "heed f32"), find(MHA, "heed f32")];
  add(`${SMALL} × onnxruntime-web`, find(SMALL, "onnxruntime-web"), small, 3);
  add(`${SMALL} × onnxruntime-node`, find(SMALL, "onnxruntime-node"), small, 0.8);
  add(`${MHA} × onnxruntime-web`, find(MHA, "onnxruntime-web"), full, 4);
  add(`${MHA} × onnxruntime-node`, find(MHA, "onnxruntime-node"), full, 1.4);
  add(`${MHA} int8 × f32`, full, find(MHA, "heed int8"), 2);
  add(`${MHA} f16 × f32`, full, find(MHA, "heed f16"), 1.4);
  // As many query heads on a quarter of the keys.
  add(`${GQA} × the same without groups`, full, find(GQA, "heed f32"), 2.5);
  if (full)
    bars.push({ what: `${MHA} f32, share of the streaming read`, value: full.percentOfStream / 100, atLeast: 0.8 });
  return bars;
}

export function formatDecode({ rows, bars, skipped }: Awaited<ReturnType<typeof measureDecode>>): string {
  const table = formatTable(
    ["", "", "ms a token", "tokens/s", "GB/s", "% of stream", "error", "form"],
    rows.map((row) => [
      row.shape,
      row.name,
      milliseconds(row.median),
      row.tokensPerSecond.toFixed(0),
      row.gigabytesPerSecond.toFixed(1),
      row.percentOfStream.toFixed(0),
      row.maxError.toExponential(0),
      row.form,
    ]),
    2,
  );
  return [table, ...skipped, "", formatBars(bars)].join("\n");
}
