// The bytes of a build, and the three more that make its memory a shared one.
import { describe, expect, it } from "vitest";
import { shareMemory } from "../../bindings/threads/shared-memory.ts";
import { forEachBuild, bytesOf } from "../support/builds.ts";

forEachBuild((name) => {
  describe("shareMemory", () => {
    const bytes = bytesOf(name);
    const shared = shareMemory(bytes)!;
    const env = (memory: WebAssembly.Memory) => ({ env: { memory, abort: () => undefined } });

    it("adds three bytes, and the result takes shared memory alone", () => {
      expect(shared.length).toBe(bytes.length + 3);
      const module = new WebAssembly.Module(shared);
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
      expect(() => new WebAssembly.Instance(module, env(memory))).not.toThrow();
      const own = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
      expect(() => new WebAssembly.Instance(module, env(own))).toThrow(WebAssembly.LinkError);
    });

    it("leaves the caller's bytes as they are", () => {
      expect(WebAssembly.validate(bytes)).toBe(true);
      expect(
        new WebAssembly.Instance(new WebAssembly.Module(bytes), env(new WebAssembly.Memory({ initial: 1 }))),
      ).toBeDefined();
    });

    it("refuses bytes that end anywhere", () => {
      for (let end = 0; end < 200; end++) expect(shareMemory(bytes.subarray(0, end)) ?? "none").toBeDefined();
    });
  });
});

describe("shareMemory", () => {
  it.each([
    ["nothing", []],
    ["no import", [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0]],
    ["memory of two pages", [0, 97, 115, 109, 1, 0, 0, 0, 2, 8, 1, 1, 97, 1, 98, 2, 0, 2]],
  ])("is undefined for %s", (_, bytes) => {
    expect(shareMemory(Uint8Array.from(bytes))).toBeUndefined();
  });
});
