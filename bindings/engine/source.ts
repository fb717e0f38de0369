import { isObject, mismatch, nameOf, wrongKind, wrongValue } from "../check.ts";

/** A build of the kernels: a compiled module, its bytes, a Response with its bytes, or its URL. @category Loading */
export type ModuleSource = WebAssembly.Module | ArrayBuffer | ArrayBufferView | Response | URL | string;

/** The version of the package, which build.js writes here and into a custom section of each build. */
declare const HEED_VERSION: string;

/** The stamp of a further module of this version. */
export function stampOf(name: string): string {
  return `${HEED_VERSION} ${name}`;
}

/**
 * Fetches the build and compiles it, where that is still to be done.
 *
 * @param stamp of the build; by default that of the kernels
 * @param title the name of the option in errors
 * @throws TypeError for another kind of source; RangeError for something else than a build of this version, or a
 * response without one; Error where a URL cannot be read, or where the host compiles no WebAssembly
 */
export async function compile(source: unknown, stamp = HEED_VERSION, title = "module"): Promise<WebAssembly.Module> {
  const bytes = await readSource(source, title);
  if (isModule(bytes)) return checkBuild(bytes, stamp, title);
  const module = await WebAssembly.compile(bytes).catch((cause: unknown) => {
    throw compileError(bytes, cause, stamp, title);
  });
  return checkBuild(module, stamp, title);
}

/** The build that `source` gives: compiled, or its bytes, a copy of the caller's. Errors as for {@link compile}. */
export async function readSource(
  source: unknown,
  title = "module",
): Promise<WebAssembly.Module | Uint8Array<ArrayBuffer>> {
  return isModule(source) ? source : (bytesOf(source, title) ?? (await requestBytes(source, title)));
}

/** Like {@link compile}, for a build that need not be fetched. */
export function compileSync(source: unknown, stamp = HEED_VERSION, title = "module"): WebAssembly.Module {
  if (isModule(source)) return checkBuild(source, stamp, title);
  const bytes = bytesOf(source, title);
  if (!bytes) throw wrongKind(title, "a WebAssembly.Module or its bytes", source);
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(bytes);
  } catch (cause) {
    throw compileError(bytes, cause, stamp, title);
  }
  return checkBuild(module, stamp, title);
}

/** Compares the class by its name, since an object of another realm, as edge runtimes make them, is no `instanceof`. */
function isA(name: string, value: unknown): boolean {
  return isObject(value) && nameOf(value) === name;
}

function isModule(value: unknown): value is WebAssembly.Module {
  return isA("WebAssembly.Module", value);
}

/** A copy of the bytes, since no engine compiles shared memory; undefined for anything else. */
function bytesOf(value: unknown, title: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
    if (isA("ArrayBuffer", value)) return new Uint8Array(value as ArrayBuffer).slice();
  } catch {
    throw wrongKind(title, "bytes whose buffer was not transferred", value);
  }
  return undefined;
}

/** What Node has to read files with. */
interface Node {
  process?: { getBuiltinModule?(name: "fs"): { promises: { readFile(url: URL): Promise<Uint8Array> } } };
}

async function requestBytes(source: unknown, title: string): Promise<Uint8Array<ArrayBuffer>> {
  if (isA("Response", source)) return bodyOf(source as Response, title);
  if (typeof source !== "string" && !isA("URL", source)) {
    throw wrongKind(title, "a WebAssembly.Module, its bytes, a Response or a URL", source);
  }
  const url = urlOf(source as string | URL, title);
  try {
    // Node's fetch reads no file.
    const files = url.protocol === "file:" && (globalThis as Node).process?.getBuiltinModule?.("fs").promises;
    if (files) return new Uint8Array(await files.readFile(url));
    return await bodyOf(await fetch(url), title);
  } catch (cause) {
    if (cause instanceof RangeError) throw cause;
    throw new Error(mismatch(title, `a build at ${url.href}`, String(cause)), { cause });
  }
}

function urlOf(source: string | URL, title: string): URL {
  const { location } = globalThis as { location?: Location };
  try {
    return new URL(source, location?.href);
  } catch {
    throw wrongValue(title, location ? "a URL" : "an absolute URL", source);
  }
}

async function bodyOf(response: Response, title: string): Promise<Uint8Array<ArrayBuffer>> {
  const { ok, status, bodyUsed, url } = response;
  if (!ok || bodyUsed) {
    const got = `${ok ? "one already read" : `status ${status}`}${url && ` from ${url}`}`;
    throw new RangeError(mismatch(title, "a response with a build", got));
  }
  return new Uint8Array(await response.arrayBuffer());
}

function compileError(bytes: Uint8Array<ArrayBuffer>, cause: unknown, stamp: string, title: string): Error {
  const [, name] = stamp.split(" ");
  const prefix = name ? `${name}.` : "";
  if (WebAssembly.validate(bytes)) {
    return new Error(
      `this host compiles no WebAssembly from bytes: import "heed/${prefix}simd.wasm" as a module and ` +
        `pass it as "${title}", or, in a page, allow 'wasm-unsafe-eval' in its Content-Security-Policy`,
      { cause },
    );
  }
  const got = `${bytes.length} bytes that this engine does not compile`;
  return new RangeError(mismatch(title, `the bytes of heed/${prefix}simd.wasm or heed/${prefix}relaxed.wasm`, got), {
    cause,
  });
}

/**
 * Refuses a module that is no build of heed, and a build of another version, such as a copy that an update left behind.
 * The stamp is the version, and the name of a further module behind it.
 */
function checkBuild(module: WebAssembly.Module, stamp: string, title: string): WebAssembly.Module {
  const [section] = WebAssembly.Module.customSections(module, "heed");
  const found = section && String.fromCharCode(...new Uint8Array(section));
  if (found === stamp) return module;
  const got = found === undefined ? "a module that is none" : `one of version ${found}`;
  throw new RangeError(mismatch(title, `a build of heed ${stamp}`, got));
}
