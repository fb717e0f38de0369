// What `load` takes as `module`, and what it says of anything else.
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { createServer as createHttpServer } from "node:http";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";
import { buildSync } from "esbuild";
import { type LoadOptions, load, loadSync } from "heed";
import * as slim from "heed/slim";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { fromBase64 } from "../../bindings/engine/base64.ts";

const file = new URL("../../dist/simd.wasm", import.meta.url);
const bytes = readFileSync(file);
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

type Source = LoadOptions["module"];
const failure = (module: unknown) =>
  load({ module: module as Source }).then(
    () => undefined,
    (error: unknown) => error,
  );

describe("load({ module })", () => {
  const server = createHttpServer((request, response) => {
    // A type that compileStreaming refuses.
    response.writeHead(request.url === "/simd.wasm" ? 200 : 404, { "content-type": "text/plain" }).end(bytes);
  });
  let origin: string;
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());

  const sources: Record<string, () => Source> = {
    "a Module": () => new WebAssembly.Module(bytes),
    "a Module of another realm": () =>
      runInNewContext("new WebAssembly.Module(bytes)", { bytes }) as WebAssembly.Module,
    "a Uint8Array": () => Uint8Array.from(bytes),
    "a part of a larger buffer": () => Buffer.concat([Buffer.from("before"), bytes]).subarray(6),
    "a DataView": () => new DataView(Uint8Array.from(bytes).buffer),
    "an ArrayBuffer": () => Uint8Array.from(bytes).buffer,
    "an ArrayBuffer of another realm": () => runInNewContext("Uint8Array.from(bytes).buffer", { bytes }) as ArrayBuffer,
    "shared memory": () => {
      const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
      shared.set(bytes);
      return shared;
    },
    "a Response": () => new Response(bytes),
    "a promise of a Response": () => fetch(`${origin}/simd.wasm`),
    "a promise of bytes": () => Promise.resolve(bytes),
    "a URL": () => new URL(`${origin}/simd.wasm`),
    "a URL of a file": () => file,
    "a string": () => file.href,
    "what import.meta.resolve gives": () => import.meta.resolve("heed/simd.wasm"),
    "a data URL": () => `data:application/wasm;base64,${bytes.toString("base64")}`,
  };
  it.each(Object.keys(sources))("takes %s", async (name) => {
    const heed = await load({ module: sources[name]!() });
    expect(heed.variant).toBe("simd");
    heed.dispose();
  });

  it("refuses what is none of these", async () => {
    const expected = '"module" expected a WebAssembly.Module, its bytes, a Response or a URL';
    expect(await failure(null)).toEqual(new TypeError(`${expected}, got null`));
    expect(await failure(7)).toEqual(new TypeError(`${expected}, got 7`));
    expect(await failure({})).toEqual(new TypeError(`${expected}, got a value of type Object`));
    expect(await failure(Promise.resolve(undefined))).toEqual(new TypeError(`${expected}, got undefined`));
    expect(await failure(new WebAssembly.Memory({ initial: 1 }))).toBeInstanceOf(TypeError);
    expect(await failure("simd.wasm")).toEqual(new RangeError('"module" expected an absolute URL, got "simd.wasm"'));
  });

  it("says what is wrong with a response", async () => {
    expect(await failure(fetch(`${origin}/other.wasm`))).toEqual(
      new RangeError(`"module" expected a response with a build, got status 404 from ${origin}/other.wasm`),
    );
    expect(await failure(`${origin}/other.wasm`)).toBeInstanceOf(RangeError);
    const used = new Response(bytes);
    await used.arrayBuffer();
    expect(await failure(used)).toEqual(
      new RangeError('"module" expected a response with a build, got one already read'),
    );
  });

  it("says what could not be read, and why", async () => {
    const missing = new URL("missing.wasm", file);
    expect(await failure(missing)).toMatchObject({
      name: "Error",
      message: expect.stringContaining(`"module" expected a build at ${missing.href}, got Error: ENOENT`) as string,
      cause: expect.objectContaining({ code: "ENOENT" }) as object,
    });
    const closed = await freePort();
    expect(await failure(`http://127.0.0.1:${closed}/simd.wasm`)).toMatchObject({
      name: "Error",
      message: expect.stringContaining(`"module" expected a build at http://127.0.0.1:${closed}/simd.wasm`) as string,
    });
  });

  it("passes on why a promise failed", async () => {
    const reason = new Error("offline");
    expect(await failure(Promise.reject(reason))).toBe(reason);
  });

  it("refuses bytes that are no WebAssembly", async () => {
    const message =
      `"module" expected the bytes of heed/simd.wasm or heed/relaxed.wasm, ` +
      "got 5 bytes that this engine does not compile";
    expect(await failure(Uint8Array.of(1, 2, 3, 4, 5))).toEqual(new RangeError(message));
    expect(() => loadSync({ module: Uint8Array.of(1, 2, 3, 4, 5) })).toThrow(new RangeError(message));
    expect(await failure(bytes.subarray(0, -1))).toBeInstanceOf(RangeError);
  });

  it("refuses another module, and a build of another version", async () => {
    const empty = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);
    const expected = `"module" expected a build of heed ${version}`;
    expect(await failure(empty)).toEqual(new RangeError(`${expected}, got a module that is none`));
    const other = Uint8Array.from([...empty, 0, 10, 4, ...Buffer.from("heed9.9.9")]);
    const old = new RangeError(`${expected}, got one of version 9.9.9`);
    expect(await failure(other)).toEqual(old);
    expect(() => loadSync({ module: new WebAssembly.Module(other) })).toThrow(old);
  });
});

describe("loadSync({ module })", () => {
  it("takes a Module or bytes", () => {
    for (const module of [new WebAssembly.Module(bytes), bytes, Uint8Array.from(bytes).buffer]) {
      expect(loadSync({ module }).variant).toBe("simd");
    }
  });

  it("refuses what it would have to wait for", () => {
    for (const module of [new Response(bytes), file, file.href, Promise.resolve(bytes), null]) {
      expect(() => loadSync({ module: module as unknown as Uint8Array })).toThrow(
        /^"module" expected a WebAssembly.Module or its bytes, got /,
      );
    }
  });
});

describe("a host that compiles no bytes", () => {
  const refusal = new WebAssembly.CompileError("Wasm code generation disallowed by embedder");
  const { compile } = WebAssembly;
  beforeAll(() => {
    WebAssembly.compile = () => Promise.reject(refusal);
  });
  afterAll(() => {
    WebAssembly.compile = compile;
  });

  it("gets one Error that says what to do, and works with a Module", async () => {
    for (const module of [undefined, bytes]) {
      expect(await failure(module)).toMatchObject({
        name: "Error",
        message: expect.stringMatching(
          /^this host compiles no WebAssembly from bytes: import "heed\/simd.wasm"/,
        ) as string,
        cause: refusal,
      });
    }
    (await load({ module: new WebAssembly.Module(bytes) })).dispose();
  });
});

/** A port where nobody listens. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

describe("a host that has the language and WebAssembly, and nothing else", () => {
  // Such as an AudioWorklet or the shell of an engine: no atob, fetch, URL, Response, TextDecoder, process or timers.
  const { outputFiles } = buildSync({
    entryPoints: [fileURLToPath(new URL("../../dist/index.js", import.meta.url))],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "heed",
    logLevel: "error",
  });
  const program = `${outputFiles[0]!.text}
    const one = Float32Array.of(1, 2);
    const attend = (instance) => {
      const { out } = instance.attention(one, one, one, { numHeads: 1, headDim: 2 });
      instance.dispose();
      return String(out);
    };`;
  const hosts = ["atob", "fetch", "URL", "location", "Response", "process", "TextDecoder", "structuredClone"];
  const run = (code: string): unknown => runInNewContext(`${program};${code}`, {});
  const variants = ["simd", "relaxed"].filter((name) =>
    WebAssembly.validate(readFileSync(new URL(`../../dist/${name}.wasm`, import.meta.url))),
  );

  it("loads, with a promise and without, both builds", async () => {
    expect(run(`${JSON.stringify(hosts)}.filter((name) => name in globalThis).length`)).toBe(0);
    for (const variant of variants) {
      expect(run(`attend(heed.loadSync({ variant: "${variant}" }))`)).toBe("1,2");
      expect(await run(`heed.load({ variant: "${variant}" }).then(attend)`)).toBe("1,2");
    }
  });
});

describe("the bytes of base64", () => {
  const given = Uint8Array.from({ length: 300 }, (_, n) => n * 37);

  it.each(["by the engine", "by hand"])("decodes text of any length, padded or not, %s", (how) => {
    const engine = vi.fn((text: string) => new Uint8Array(Buffer.from(text, "base64")));
    vi.stubGlobal(
      "Uint8Array",
      Object.assign(class extends Uint8Array {}, { fromBase64: how === "by hand" ? undefined : engine }),
    );
    for (let length = 0; length <= given.length; length++) {
      const text = Buffer.from(given.subarray(0, length)).toString("base64");
      for (const form of [text, text.replaceAll("=", "")]) {
        expect(Buffer.from(fromBase64(form)).equals(given.subarray(0, length))).toBe(true);
      }
    }
    expect(engine).toHaveBeenCalledTimes(how === "by hand" ? 0 : 602);
    vi.unstubAllGlobals();
  });
});

describe("a host without address space", () => {
  it("gets a RangeError that names maxMemory, from both ways to load", async () => {
    const refusal = new RangeError("WebAssembly.Memory(): could not allocate memory");
    const memory = vi.spyOn(WebAssembly, "Memory").mockImplementation(function () {
      throw refusal;
    });
    const expected = expect.objectContaining({
      name: "RangeError",
      message: expect.stringMatching(
        /^"maxMemory" expected a host with address space for 67108864 bytes, got refused: .* \(RangeError: WebAssembly/,
      ) as string,
      cause: refusal,
    }) as Error;
    await expect(load()).rejects.toEqual(expected);
    let error: unknown;
    try {
      loadSync();
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toEqual(expected);
    memory.mockRestore();
    loadSync().dispose();
  });
});

describe("heed/slim", () => {
  it("loads the build that it is given, with a promise and without", async () => {
    const [k, v] = [Float32Array.of(1, 0), Float32Array.of(3, 5)];
    for (const heed of [await slim.load({ module: file }), slim.loadSync({ module: bytes })]) {
      expect(heed.variant).toBe("simd");
      expect([...heed.attention(k, k, v, { numHeads: 1, headDim: 2 }).out]).toEqual([3, 5]);
      heed.dispose();
    }
  });

  it("says that it brings no build", async () => {
    const wrong = /^"module" expected the build "heed\/simd.wasm" or "heed\/relaxed.wasm", .*, got undefined$/;
    await expect(slim.load({} as slim.SlimLoadOptions)).rejects.toThrow(wrong);
    await expect(slim.load(undefined as unknown as slim.SlimLoadOptions)).rejects.toThrow(TypeError);
    expect(() => slim.loadSync({ module: undefined as unknown as ArrayBuffer })).toThrow(wrong);
    expect(() => slim.loadSync({ module: bytes, variant: "relaxed" })).toThrow(RangeError);
  });

  it("takes no other value for module than heed does", () => {
    expect(() => slim.loadSync({ module: "simd.wasm" })).toThrow(TypeError);
  });
});
