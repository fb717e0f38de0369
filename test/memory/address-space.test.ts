// Hosts that refuse to reserve the address space of a memory.
import { execFileSync } from "node:child_process";
import { loadSync } from "heed";
import { afterEach, describe, expect, it, vi } from "vitest";
import { PAGE_BYTES } from "../../bindings/memory/arena.ts";

const MIB = 2 ** 20;

/** The maxima that are asked for, in bytes, by a host that refuses those above `most`. */
function refuseAbove(most: number): number[] {
  const asked: number[] = [];
  const { Memory } = WebAssembly;
  vi.spyOn(WebAssembly, "Memory").mockImplementation(function (descriptor: WebAssembly.MemoryDescriptor) {
    asked.push(descriptor.maximum! * PAGE_BYTES);
    if (asked.at(-1)! > most) throw new RangeError("WebAssembly.Memory(): could not allocate memory");
    return new Memory(descriptor);
  });
  return asked;
}

describe("load where address space is short", () => {
  afterEach(() => void vi.restoreAllMocks());

  it("takes the half of 4 GiB that there is, and works to its end", () => {
    const asked = refuseAbove(256 * MIB);
    const heed = loadSync();
    expect(asked).toEqual([4096, 2048, 1024, 512, 256].map((size) => size * MIB));
    const most = heed.tensor((255 * MIB) / 4);
    expect(() => heed.tensor((2 * MIB) / 4)).toThrow(/^"memory" expected to grow/);
    most.dispose();
    heed.dispose();
  });

  it.each([
    [undefined, 64 * MIB],
    [2 ** 32, 2 ** 32],
    [512 * MIB, 512 * MIB],
    [PAGE_BYTES, PAGE_BYTES],
  ])("is a RangeError by name where there is none: maxMemory %s", (maxMemory, last) => {
    const asked = refuseAbove(0);
    expect(() => loadSync({ maxMemory })).toThrow(RangeError);
    expect(asked.at(-1)).toBe(last);
    expect(asked.length).toBe(maxMemory === undefined ? 7 : 1);
    expect(() => loadSync({ maxMemory })).toThrow(
      /^"maxMemory" expected a host with address space for .* bytes, got refused: .*could not allocate memory/,
    );
  });

  it.skipIf(process.platform !== "linux")("says so under a limit of the process", () => {
    const code = `
      import { load } from ${JSON.stringify(new URL("../../dist/index.js", import.meta.url).href)};
      await load().then(
        (heed) => console.log("works", heed.attention(Float32Array.of(1), Float32Array.of(1), Float32Array.of(5),
          { numHeads: 1, headDim: 1 }).out[0]),
        (error) => console.log(error.name, error.message),
      );`;
    const command = 'ulimit -v 6000000 && exec "$0" --input-type=module --eval "$1"';
    const said = execFileSync("sh", ["-c", command, process.execPath, code], { encoding: "utf8" });
    // Later versions of Node do without the 10 GB of address space that guards of a memory take.
    expect(said).toMatch(/^(works 5|RangeError "maxMemory" expected .* got refused: raise the limit .*)\n$/);
  });
});
