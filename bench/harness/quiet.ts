/** Looks this far apart. */
const LOOK_MS = 3;
/** A process that is never quiet is waited for no longer. */
const MOST_MS = 500;

/**
 * Waits until the other threads of this process compute no more: those of onnxruntime spin for some 20 ms after a call,
 * which whoever computes next would pay for.
 */
export async function quiet(): Promise<void> {
  const start = performance.now();
  for (let last = start; last - start < MOST_MS;) {
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const now = performance.now();
    const { user, system } = process.cpuUsage(before);
    if (user + system < 100 * (now - last)) return;
    last = now;
  }
}
