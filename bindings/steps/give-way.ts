/** What hosts have for giving the thread back. */
interface Host {
  setImmediate?: (callback: () => void) => unknown;
  MessageChannel?: new () => {
    port1: { onmessage: (() => void) | null; close(): void };
    port2: { postMessage(message: unknown): void };
  };
  setTimeout?: (callback: () => void, ms: number) => unknown;
}

/**
 * Gives the thread back: other tasks of the host come first, then the promise resolves. Not by `scheduler.yield`, whose
 * continuations go before timers and messages: `controller.abort()` in a timer would come when the call is over.
 */
export function giveWay(): Promise<void> {
  const { setImmediate, MessageChannel, setTimeout } = globalThis as Host;
  return new Promise((resolve) => {
    if (setImmediate) {
      setImmediate(resolve);
    } else if (MessageChannel) {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(0);
    } else {
      setTimeout?.(resolve, 0);
    }
  });
}
