// Rewrites a compiled module so that every access to memory is announced first, to an import `checked.access`.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/** What is used of binaryen, the optimiser that comes with AssemblyScript. */
interface Binaryen {
  Features: { All: number };
  readBinary(bytes: Uint8Array): Module;
  parseText(text: string): Module;
}

interface Module {
  setFeatures(features: number): void;
  emitText(): string;
  emitBinary(): Uint8Array<ArrayBuffer>;
  validate(): number;
  dispose(): void;
}

/** Is told of an access before it happens. Gives `ptr` back, or throws. */
export type Access = (ptr: number, offset: number, bytes: number, isWrite: number) => number;

/** An S-expression: a word, or a list. */
type Expression = string | Expression[];

const TYPE_BYTES: Record<string, number> = { i32: 4, f32: 4, i64: 8, f64: 8, v128: 16 };

const HELPERS = `
  (func $checked_copy (param i32 i32 i32)
    (memory.copy
      (call $checked_access (local.get 0) (i32.const 0) (local.get 2) (i32.const 1))
      (call $checked_access (local.get 1) (i32.const 0) (local.get 2) (i32.const 0))
      (local.get 2)))
  (func $checked_fill (param i32 i32 i32)
    (memory.fill
      (call $checked_access (local.get 0) (i32.const 0) (local.get 2) (i32.const 1))
      (local.get 1)
      (local.get 2)))`;

/** The module with `checked.access` before every load, store, copy and fill. */
export async function instrument(bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const asc = createRequire(import.meta.url).resolve("assemblyscript/package.json");
  const file = pathToFileURL(createRequire(asc).resolve("binaryen")).href;
  const { default: binaryen } = (await import(file)) as { default: Binaryen };
  const module = binaryen.readBinary(bytes);
  module.setFeatures(binaryen.Features.All);
  const [root] = parse(module.emitText()) as [Expression[]];
  module.dispose();

  const check = (node: Expression): Expression => {
    if (typeof node === "string") return node;
    const [head, ...rest] = node.map(check) as [Expression, ...Expression[]];
    if (typeof head !== "string") return [head, ...rest];
    if (head === "memory.copy" || head === "memory.fill") {
      return ["call", head === "memory.copy" ? "$checked_copy" : "$checked_fill", ...rest];
    }
    const access = /^(\w+)\.(load|store)(?:(\d+)(?:x(\d+))?)?/.exec(head);
    if (!access) return [head, ...rest];
    const [, type, kind, bits, lanes = "1"] = access;
    const size = bits === undefined ? TYPE_BYTES[type!]! : (Number(bits) * Number(lanes)) / 8;
    const offset = rest.find((word) => typeof word === "string" && word.startsWith("offset=")) as string | undefined;
    const at = rest.findIndex((word) => typeof word !== "string");
    const numbers = [offset?.slice("offset=".length) ?? "0", String(size), kind === "store" ? "1" : "0"];
    rest[at] = ["call", "$checked_access", rest[at]!, ...numbers.map((number) => ["i32.const", number])];
    return [head, ...rest];
  };
  const checked = root.map(check);
  // Imports stand before everything that is defined.
  const firstImport = checked.findIndex((node) => node[0] === "import");
  const type = "(param i32 i32 i32 i32) (result i32)";
  checked.splice(firstImport, 0, `(import "checked" "access" (func $checked_access ${type}))`);
  checked.push(HELPERS);

  const made = binaryen.parseText(print(checked));
  made.setFeatures(binaryen.Features.All);
  if (made.validate() !== 1) throw new Error("the instrumented module is not valid");
  const result = made.emitBinary();
  made.dispose();
  return result;
}

function parse(text: string): Expression[] {
  const stack: Expression[][] = [[]];
  for (const [token] of text.matchAll(/\(;.*?;\)|;;.*|[()]|"(?:[^"\\]|\\.)*"|[^\s()";]+/g)) {
    if (token.startsWith("(;") || token.startsWith(";;")) continue;
    if (token === "(") stack.push([]);
    else if (token === ")") stack[stack.length - 2]!.push(stack.pop()!);
    else stack.at(-1)!.push(token);
  }
  return stack[0]!;
}

function print(node: Expression): string {
  return typeof node === "string" ? node : `(${node.map(print).join(" ")})\n`;
}
