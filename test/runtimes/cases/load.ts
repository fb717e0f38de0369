// Where the build comes from, which one it is, and how often it may be loaded.
import { load, loadSync } from "heed";
import { load as loadAgain } from "heed-again";
import simd from "heed/simd.wasm";
import { maxError } from "../../support/distance.ts";
import { type Cases, attend, expect, expectError, small, withHeed } from "./expect.ts";

/** Bytes: esbuild embeds them. */
const bytes = simd as unknown as Uint8Array<ArrayBuffer>;

/** Whether this host compiles bytes; if not, `load` must say so. */
async function compilesBytes(): Promise<boolean> {
  try {
    await WebAssembly.compile(bytes);
    return true;
  } catch {
    return false;
  }
}

/** By another instruction than the one that heed asks for: the fused multiply-add itself. */
function bestVariant(): "simd" | "relaxed" {
  // (module (func (result v128) … f32x4.relaxed_madd))
  const body = [0, ...[0, 1, 2].flatMap(() => [253, 12, ...new Uint8Array(16)]), 253, 133, 2, 11];
  const probe = Uint8Array.from([
    0,
    97,
    115,
    109,
    1,
    0,
    0,
    0,
    1,
    5,
    1,
    96,
    0,
    1,
    123,
    3,
    2,
    1,
    0,
    10,
    body.length + 2,
    1,
    body.length,
    ...body,
  ]);
  return WebAssembly.validate(probe) ? "relaxed" : "simd";
}

export const loadCases: Cases = {
  "the build, chosen and pinned": async () => {
    const [best, pinned] = [await load(), await load({ variant: "simd" })];
    expect(best.variant === bestVariant(), `the build of this host, not ${best.variant}`);
    expect(pinned.variant === "simd", "the pinned build");
    attend(pinned, small);
    best.dispose();
    pinned.dispose();
  },

  loadSync: () => {
    const heed = loadSync();
    attend(heed, small);
    heed.dispose();
  },

  "a failed load, then a good one": async () => {
    await expectError(() => load({ variant: "fast" as "simd" }), RangeError, /^"variant" expected/);
    await expectError(
      () => load({ module: {} as never }),
      TypeError,
      /^"module" expected a WebAssembly.Module, its bytes/,
    );
    await expectError(() => load({ module: Promise.reject(new RangeError("offline")) }), RangeError, /^offline$/);
    await expectError(
      () => load({ module: Uint8Array.of(0, 97, 115, 109) }),
      RangeError,
      /^"module" expected the bytes of heed\/simd.wasm/,
    );
    await expectError(() => load({ module: new Response("", { status: 404 }) }), RangeError, /status 404/);
    await withHeed((heed) => attend(heed, small));
  },

  "module: bytes, a Response, a URL, a Module": async () => {
    if (!(await compilesBytes())) {
      await expectError(() => load({ module: bytes }), Error, /^this host compiles no WebAssembly from bytes/);
      return;
    }
    const url = `data:application/wasm;base64,${btoa(String.fromCharCode(...bytes))}`;
    const sources = {
      bytes,
      buffer: bytes.slice().buffer,
      response: new Response(bytes),
      promise: Promise.resolve(new Response(bytes)),
      url: new URL(url),
      string: url,
      module: await WebAssembly.compile(bytes),
    };
    for (const [name, module] of Object.entries(sources)) {
      const heed = await load({ module }).catch((cause: unknown) => {
        throw new Error(`${name}: ${String(cause)}`, { cause });
      });
      expect(heed.variant === "simd", `${name} gives the simd build`);
      attend(heed, small);
      heed.dispose();
    }
    for (const module of [sources.bytes, sources.module]) {
      const heed = loadSync({ module });
      attend(heed, small);
      heed.dispose();
    }
  },

  "two copies of the package at once": async () => {
    const [one, other] = [await load(), await loadAgain()];
    const { q, k, v, options } = small;
    const [a, b] = [one.attention(q, k, v, options).out, other.attention(q, k, v, options).out];
    expect(maxError(a, b) === 0, "the same bits");
    const tensor = one.tensor(q.length);
    await expectError(() => other.attention(tensor, k, v, options), TypeError, /^"q" expected/);
    one.dispose();
    attend(other, small);
    other.dispose();
  },

  "1000 loads and disposals": async () => {
    for (let n = 0; n < 1000; n++) {
      const heed = await load();
      if (n % 100 === 0) attend(heed, small);
      heed.dispose();
    }
  },
};
