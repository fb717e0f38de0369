/** What hosts have for giving the thread back. */
interface Host {
  scheduler?: { yield?: () => Promise<void> };
  setImmediate?: (callback: () => void) => unknown;
  MessageChannel?: new () => {
    port1: { onmessage: (() => void) | null; close(): void };
    port2: { postMessage(message: unknown): void };
  };
  setTimeout?: (callback: () => void, ms: number) => unknown;
}

/** Gives the thread back: other tasks of the host come first, then the promise resolves. */
export function giveWay(): Promise<void> {
  const { scheduler, setImmediate, MessageChannel, setTimeout } = globalThis as Host;
  // A task of its own for each call: `this` of these functions is the global object.
  if (setImmediate) return new Promise((resolve) => void setImmediate(resolve));
  if (scheduler?.yield) return scheduler.yield();
  if (MessageChannel) {
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(0);
    });
  }
  return new Promise((resolve) => void setTimeout?.(resolve, 0));
}
