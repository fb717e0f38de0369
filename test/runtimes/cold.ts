// A cold start: from the first line to the first answer, [1, 128, 12, 64] attending to itself.

/** Milliseconds. */
export interface Cold {
  import: number;
  load: number;
  call: number;
}

export async function coldStart(): Promise<Cold> {
  const start = performance.now();
  const { load } = await import("heed");
  const imported = performance.now();
  const heed = await load();
  const loaded = performance.now();
  firstCall(heed);
  return { import: imported - start, load: loaded - imported, call: performance.now() - loaded };
}

/** 1×12×128×128×64. */
export function firstCall(heed: Awaited<ReturnType<typeof import("heed").load>>): number {
  const x = new Float32Array(128 * 12 * 64).fill(0.5);
  return heed.attention(x, x, x, { numHeads: 12, headDim: 64 }).out[0]!;
}
