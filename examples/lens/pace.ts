// Work in slices, so that a key press never waits for it.

/** A newer edit has come: what was being computed is not wanted any more. */
export class Superseded extends Error {}

/** Milliseconds of work between two looks at what else the page has to do. */
const SLICE = 4;

/** Rounds of work, of which only the latest goes on. */
export class Pace {
  #round = 0;

  /** Begins a round and ends the one before. The function that it returns gives way to the page after each slice. */
  begin(): () => Promise<void> {
    const round = ++this.#round;
    let deadline = performance.now() + SLICE;
    return async () => {
      if (performance.now() >= deadline) {
        await nextTask();
        deadline = performance.now() + SLICE;
      }
      if (round !== this.#round) throw new Superseded();
    };
  }
}

/** A task of its own, behind input and painting; setTimeout would wait for 4 ms. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
