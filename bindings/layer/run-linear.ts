import { BLOCK_ROWS, PANEL_FEATURES } from "../engine/abi.ts";
import { type Instance, type Threads, WORK_OF_FLOAT } from "../engine/instance.ts";
import { linearKernels } from "../engine/module.ts";
import { computeItems, itemsAtOnce } from "../steps/items.ts";
import { STEP_WORK, type Share, type Steps, fractionAt } from "../steps/steps.ts";
import { MAX_ITEMS } from "../threads/control.ts";
import type { CheckedWeight, PackedForm } from "./linear-weights.ts";
import { panelRuns } from "./pack.ts";

/** out = act(x·Wᵀ + bias) + residual of a packed weight, as addresses; gated, out = act(…)·(x·Upᵀ + upBias) + residual. */
export interface LinearCall extends PackedForm {
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
  /** Bytes from one row of out, and of residual, to the next. */
  outStride: number;
  epilogue?: Epilogue | undefined;
}

/** What follows the product, as the kernel is handed it. */
export interface Epilogue {
  /** [rows, outFeatures], or 0. */
  residual: number;
  activation: number;
  /** The panel of the first row of Up, its place in that panel, and [outFeatures]; 0 where there is no gate. */
  upPanels: number;
  upLane: number;
  upBias: number;
  /** Whether residual is out, so that no item may be done twice, as one whose worker died would be. */
  isInPlace: boolean;
}

const NO_EPILOGUE: Epilogue = { residual: 0, activation: 0, upPanels: 0, upLane: 0, upBias: 0, isInPlace: false };

/** The kernel of a call: that of the core multiplies floats, and has no epilogue. */
function kernelOf({ group, epilogue }: LinearCall): "linear" | "linearFused" {
  return group || epilogue ? "linearFused" : "linear";
}

/** Bytes of the scratch of a call of `rows` rows. */
export function scratchBytesOf(instance: Instance, call: LinearCall, rows: number): number {
  if (kernelOf(call) === "linear") return instance.kernels.linearScratchBytes();
  return linearKernels(instance).fusedScratchBytes(rows, call.inFeatures, call.group, !!call.epilogue?.upPanels);
}

/** Runs `linear`, on all threads where that pays: an item is some rows of x, or some panels where the rows are few. */
export function runLinear(instance: Instance, call: LinearCall, scratch: number): void {
  const { kernels, pool, useTile6x2, constants } = instance;
  if (pool && !call.epilogue?.isInPlace && linearOnThreads(instance, pool, call)) return;
  const { out, x, panels, bias, rows, inFeatures, outFeatures, outStride, group, isInt4 } = call;
  const xStride = inFeatures * 4;
  if (kernelOf(call) === "linear") {
    kernels.linear(out, x, panels, bias, scratch, rows, inFeatures, outFeatures, outStride, xStride, useTile6x2);
    return;
  }
  const { residual, activation, upPanels, upLane, upBias } = call.epilogue ?? NO_EPILOGUE;
  // Written out: a spread takes V8 longer than a small product.
  linearKernels(instance).linearFused(
    out,
    x,
    panels,
    bias,
    scratch,
    rows,
    inFeatures,
    outFeatures,
    outStride,
    xStride,
    useTile6x2,
    constants,
    residual,
    activation,
    upPanels,
    upBias,
    upLane,
    group,
    isInt4,
  );
}

/** Runs `linear` for each call, in steps that are the fractions `share`. */
export function* linearInSteps(
  instance: Instance,
  calls: readonly LinearCall[],
  scratch: number,
  share: Share,
): Steps<void> {
  let scratchBytes = 0;
  const items: number[][] = [];
  // That of floats and integers gives floats the same bits, so one kernel does for all.
  const kernel = calls.some((call) => kernelOf(call) === "linearFused") ? "linearFused" : "linear";
  for (const call of calls) {
    const panelWork = Math.min(call.rows, BLOCK_ROWS) * call.inFeatures * PANEL_FEATURES;
    // Products of integers take about half as long, and every step rounds x anew.
    const panels = Math.max(1, Math.floor((call.group ? 2 * STEP_WORK : STEP_WORK) / panelWork));
    items.push(...itemsOf(instance, call, BLOCK_ROWS, panels * PANEL_FEATURES));
    scratchBytes = Math.max(scratchBytes, scratchBytesOf(instance, call, call.rows));
  }
  for (let done = 0; done < items.length;) {
    yield fractionAt(share, done, items.length);
    const next = items.slice(done, done + itemsAtOnce(instance));
    computeItems(instance, kernel, scratch, scratchBytes, next);
    done += next.length;
  }
  yield share.to;
}

/** False where one thread is as good, or where there is no memory for more: then nothing has been done. */
function linearOnThreads(instance: Instance, pool: Threads, call: LinearCall): boolean {
  const { rows, inFeatures, outFeatures } = call;
  const products = call.epilogue?.upPanels ? 2 * outFeatures : outFeatures;
  const wanted = pool.itemsFor(rows * inFeatures * products);
  if (wanted === 0) return false;
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const byRows = blocks >= wanted;
  const panels = Math.ceil(outFeatures / PANEL_FEATURES);
  const rowStep = byRows ? Math.ceil(blocks / wanted) * BLOCK_ROWS : rows;
  // Twice as many where they are panels: one of 24 takes some milliseconds over 512 rows, which the last one waits for.
  const few = Math.ceil(panels / Math.min(MAX_ITEMS, 2 * wanted));
  const featureStep = byRows ? outFeatures : few * PANEL_FEATURES;
  const items = [...itemsOf(instance, call, rowStep, featureStep)];
  return pool.run(kernelOf(call), scratchBytesOf(instance, call, rowStep), items) !== undefined;
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

/** The arguments of `linear` for `rows` rows from `row` on and `features` features from `feature` on, a whole panel. */
function argumentsOf(
  { useTile6x2, constants }: Instance,
  { out, x, panels, bias, inFeatures, outStride, group, isInt4, panelBytes, epilogue = NO_EPILOGUE }: LinearCall,
  row: number,
  rows: number,
  feature: number,
  features: number,
): number[] {
  const { residual, activation, upPanels, upLane, upBias } = epilogue;
  const xStride = inFeatures * 4;
  // What `linear` takes, and behind that what linearFused takes besides.
  const place = row * outStride + feature * 4;
  const panel = (feature / PANEL_FEATURES) * panelBytes;
  return [
    out + place,
    x + row * xStride,
    panels + panel,
    bias && bias + feature * 4,
    -1, // the scratch
    rows,
    inFeatures,
    features,
    outStride,
    xStride,
    Number(useTile6x2),
    constants,
    residual && residual + place,
    activation,
    upPanels && upPanels + panel,
    upBias && upBias + feature * 4,
    upLane,
    group,
    Number(isInt4),
  ];
}

/**
 * Runs `linear` of a weight that is not packed, at address `weight`: panel by panel, of which each is used while it is
 * still in the processor's cache.
 *
 * @param call without a gate; its panels are room for one
 */
export function runRaw(
  instance: Instance,
  call: LinearCall,
  weight: number,
  raw: CheckedWeight,
  scratch: number,
): void {
  const { kernels, pool, useTile6x2, constants } = instance;
  const { out, x, panels, bias, rows, inFeatures, outFeatures, outStride } = call;
  const { residual, activation, isInPlace } = call.epilogue ?? NO_EPILOGUE;
  const [outBytes, inBytes] = [raw.outStride * 4, raw.inStride * 4];
  if (!isInPlace && pool?.itemsFor((rows + WORK_OF_FLOAT) * inFeatures * outFeatures)) {
    const linearBytes = scratchBytesOf(instance, call, rows);
    // The panels of an item stand behind the scratch of `linear`: one, unless there are very many.
    const scratchBytes =
      linearBytes + Math.ceil(outFeatures / PANEL_FEATURES / MAX_ITEMS) * PANEL_FEATURES * inFeatures * 4;
    const items = panelRuns(outFeatures, MAX_ITEMS, (first, features) => {
      const product = argumentsOf(instance, call, 0, rows, first, features);
      product[PANELS_ARGUMENT] = -1 - linearBytes;
      return [-1 - linearBytes, weight + first * outBytes, inFeatures, features, outBytes, inBytes, ...product];
    });
    if (pool.run("packPanels", scratchBytes, items.reverse(), kernelOf(call), PACK_ARGUMENTS)) return;
  }
  const xStride = inFeatures * 4;
  for (let o = 0; o < outFeatures; o += PANEL_FEATURES) {
    const features = Math.min(PANEL_FEATURES, outFeatures - o);
    const to = out + o * 4;
    const part = bias && bias + o * 4;
    const added = residual && residual + o * 4;
    kernels.packPanels(panels, weight + o * outBytes, inFeatures, features, outBytes, inBytes);
    if (!call.epilogue) {
      kernels.linear(to, x, panels, part, scratch, rows, inFeatures, features, outStride, xStride, useTile6x2);
      continue;
    }
    linearKernels(instance).linearFused(
      to,
      x,
      panels,
      part,
      scratch,
      rows,
      inFeatures,
      features,
      outStride,
      xStride,
      useTile6x2,
      constants,
      added,
      activation,
      0,
      0,
      0,
      0,
      false,
    );
  }
}

/** Which argument of `linear` is the panels, and how many arguments `packPanels` has. */
const PANELS_ARGUMENT = 2;
const PACK_ARGUMENTS = 6;
