// How a call gives the thread back, in hosts that have more or less for it.
import { afterEach, describe, expect, it, vi } from "vitest";
import { openTurns } from "../../bindings/steps/give-way.ts";

const { setTimeout, MessageChannel } = globalThis;

afterEach(() => void vi.unstubAllGlobals());

/** Says by which of them a turn was given. */
function watchHost(lacks: readonly string[]): string[] {
  const used: string[] = [];
  const later =
    (name: string) =>
    (callback: () => void): void => {
      used.push(name);
      setTimeout(callback, 0);
    };
  vi.stubGlobal("setImmediate", later("setImmediate"));
  vi.stubGlobal("scheduler", {
    postTask: (callback: () => void) =>
      new Promise<void>((resolve) => {
        later("postTask")(() => {
          callback();
          resolve();
        });
      }),
  });
  vi.stubGlobal(
    "MessageChannel",
    class extends MessageChannel {
      constructor() {
        super();
        used.push("MessageChannel");
      }
    },
  );
  vi.stubGlobal("setTimeout", later("setTimeout"));
  for (const name of lacks) vi.stubGlobal(name, undefined);
  return used;
}

describe("a turn", () => {
  it.each([
    ["setImmediate", [], 3],
    ["postTask", ["setImmediate"], 3],
    // One channel for all turns of a call.
    ["MessageChannel", ["setImmediate", "scheduler"], 1],
    ["setTimeout", ["setImmediate", "scheduler", "MessageChannel"], 3],
  ])("is given by %s where the host lacks %o", async (name, lacks, times) => {
    const used = watchHost(lacks);
    const turns = openTurns();
    for (let n = 0; n < 3; n++) await turns.give();
    turns.close();
    expect(used).toEqual(Array.from({ length: times }, () => name));
  });

  it("takes a channel where a scheduler has no tasks", async () => {
    const used = watchHost(["setImmediate"]);
    vi.stubGlobal("scheduler", { yield: () => Promise.resolve() });
    const turns = openTurns();
    await turns.give();
    turns.close();
    expect(used).toEqual(["MessageChannel"]);
  });

  it.each([[[]], [["setImmediate"]], [["setImmediate", "scheduler"]]])(
    "ends after what other tasks the host has, without %o",
    async (lacks) => {
      watchHost(lacks);
      const order: string[] = [];
      const turns = openTurns();
      const given = turns.give().then(() => order.push("turn"));
      await Promise.resolve();
      order.push("the caller goes on");
      await given;
      turns.close();
      expect(order).toEqual(["the caller goes on", "turn"]);
    },
  );
});
