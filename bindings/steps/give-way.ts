/** What hosts have for giving the thread back. */
interface Host {
  setImmediate?: (callback: () => void) => unknown;
  scheduler?: { postTask?(callback: () => void): Promise<unknown> };
  MessageChannel?: new () => {
    port1: { onmessage: (() => void) | null; close(): void };
    port2: { postMessage(message: unknown): void };
  };
  setTimeout?: (callback: () => void, ms: number) => unknown;
}

/** How one call gives the thread back. */
export interface Turns {
  /** Other tasks of the host come first, then the promise resolves. */
  give(): Promise<void>;
  close(): void;
}

/**
 * Not by `scheduler.yield`, whose continuations go before timers and messages: `controller.abort()` in a timer would
 * come when the call is over. Tasks of `postTask` wait for those before them, and take less time than a message. A call
 * has one channel for all of its turns: a new one for each takes Firefox longer.
 */
export function openTurns(): Turns {
  const { setImmediate, scheduler, MessageChannel, setTimeout } = globalThis as Host;
  const turns = (next: (resolve: () => void) => unknown): Turns => ({
    give: () => new Promise((resolve) => void next(resolve)),
    close: () => undefined,
  });
  if (setImmediate) return turns(setImmediate);
  if (scheduler?.postTask) return turns((resolve) => scheduler.postTask!(resolve));
  if (!MessageChannel) return turns((resolve) => setTimeout?.(resolve, 0));
  const { port1, port2 } = new MessageChannel();
  return {
    give: () =>
      new Promise((resolve) => {
        port1.onmessage = () => resolve();
        port2.postMessage(0);
      }),
    close: () => port1.close(),
  };
}
