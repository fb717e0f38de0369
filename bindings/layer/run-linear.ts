import { BLOCK_ROWS, PANEL_FEATURES } from "../engine/abi.ts";
import type { Instance, Threads } from "../engine/instance.ts";
import { Items } from "../steps/items.ts";
import { STEP_WORK, type Share, type Steps, fractionAt } from "../steps/steps.ts";

/** out = x·Wᵀ + bias of a packed weight, as addresses. */
export interface LinearCall {
  /** [rows, outFeatures]. */
  out: number;
  /** [rows, inFeatures]. */
  x: number;
  panels: number;
  /** [outFeatures], or 0. */
  bias: number;
  rows: number;
  inFeatures: number;
  outFeatures: number;
}

/** Runs `linear`, on all threads where that pays: an item is some rows of x, or some panels where the rows are few. */
export function runLinear(instance: Instance, call: LinearCall, scratch: number): void {
  const { kernels, pool, useTile6x2 } = instance;
  if (pool && linearOnThreads(instance, pool, call)) return;
  const { out, x, panels, bias, rows, inFeatures, outFeatures } = call;
  const [outStride, xStride] = [outFeatures * 4, inFeatures * 4];
  // Written out: a spread takes V8 longer than a small product.
  kernels.linear(out, x, panels, bias, scratch, rows, inFeatures, outFeatures, outStride, xStride, useTile6x2);
}

/** Runs `linear` for each call, in steps that are the fractions `share`. */
export function* linearInSteps(
  instance: Instance,
  calls: readonly LinearCall[],
  scratch: number,
  share: Share,
): Steps<void> {
  const compute = new Items(instance, "linear", SCRATCH_ARGUMENT, instance.kernels.linearScratchBytes(), scratch);
  const items: number[][] = [];
  for (const call of calls) {
    const panelWork = Math.min(call.rows, BLOCK_ROWS) * call.inFeatures * PANEL_FEATURES;
    const features = Math.max(1, Math.floor(STEP_WORK / panelWork)) * PANEL_FEATURES;
    items.push(...itemsOf(instance, call, BLOCK_ROWS, features));
  }
  for (let done = 0; done < items.length;) {
    yield fractionAt(share, done, items.length);
    const next = items.slice(done, done + compute.width);
    compute.compute(next);
    done += next.length;
  }
  yield share.to;
}

/** False where one thread is as good, or where there is no memory for more: then nothing has been done. */
function linearOnThreads(instance: Instance, pool: Threads, call: LinearCall): boolean {
  const { rows, inFeatures, outFeatures } = call;
  const wanted = pool.itemsFor(rows * inFeatures * outFeatures);
  if (wanted === 0) return false;
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const byRows = blocks >= wanted;
  const panels = Math.ceil(outFeatures / PANEL_FEATURES);
  const rowStep = byRows ? Math.ceil(blocks / wanted) * BLOCK_ROWS : rows;
  const featureStep = byRows ? outFeatures : Math.ceil(panels / wanted) * PANEL_FEATURES;
  const items = [...itemsOf(instance, call, rowStep, featureStep)];
  return pool.run("linear", SCRATCH_ARGUMENT, instance.kernels.linearScratchBytes(), items) !== undefined;
}

/** The arguments of `linear` for `rowStep` rows and `featureStep` features at a time. */
function* itemsOf(instance: Instance, call: LinearCall, rowStep: number, featureStep: number): Iterable<number[]> {
  const { rows, outFeatures } = call;
  for (let row = 0; row < rows; row += rowStep) {
    for (let feature = 0; feature < outFeatures; feature += featureStep) {
      const size = [Math.min(rowStep, rows - row), feature, Math.min(featureStep, outFeatures - feature)] as const;
      yield argumentsOf(instance, call, row, ...size);
    }
  }
}

/** Which argument of `linear` is the scratch. */
const SCRATCH_ARGUMENT = 4;

/** The arguments of `linear` for `rows` rows from `row` on and `features` features from `feature` on. */
function argumentsOf(
  { useTile6x2 }: Instance,
  { out, x, panels, bias, inFeatures, outFeatures }: LinearCall,
  row: number,
  rows: number,
  feature: number,
  features: number,
): number[] {
  const [outStride, xStride] = [outFeatures * 4, inFeatures * 4];
  return [
    out + row * outStride + feature * 4,
    x + row * xStride,
    panels + feature * xStride,
    bias && bias + feature * 4,
    0, // the scratch, which each thread fills in
    rows,
    inFeatures,
    features,
    outStride,
    xStride,
    Number(useTile6x2),
  ];
}
