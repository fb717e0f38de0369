// The examples of the API reference, which stand in doc comments: every public function has one, and each is
// type-checked as a user's own file would be, and run; what it prints is what its `// →` comments say. An example of a
// method goes on from that of its class.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { beforeAll, describe, expect, it } from "vitest";
import { expectedLines, runSnippets, typeErrors, writeSnippets } from "../support/snippets.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = join(root, "build/examples");

/** What the reference is made of. */
const { entryPoints, categoryOrder } = JSON.parse(readFileSync(join(root, "docs/typedoc.json"), "utf8")) as {
  entryPoints: string[];
  categoryOrder: string[];
};
const entries = entryPoints.map((path) => join(root, "docs", path));
const program = ts.createProgram(entries, {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  allowImportingTsExtensions: true,
  lib: ["lib.es2022.d.ts", "lib.esnext.disposable.d.ts", "lib.dom.d.ts"],
  types: [],
  strict: true,
  noEmit: true,
});
const checker = program.getTypeChecker();

interface PublicFunction {
  /** As the reference shows it. */
  name: string;
  declarations: readonly ts.Declaration[];
  /** The class, or the object, that it belongs to. */
  owner: ts.Symbol | undefined;
}

/** What the entry points export, each once. */
const exports = new Set(
  entries.flatMap((path) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(path)!)!;
    return checker
      .getExportsOfModule(module)
      .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
  }),
);
const functions = [...exports].flatMap(functionsOf);

/** The function that a symbol is, the methods of the class, or the functions of the object. */
function functionsOf(symbol: ts.Symbol): PublicFunction[] {
  const declarations = symbol.declarations ?? [];
  if (symbol.flags & ts.SymbolFlags.Function) return [{ name: symbol.name, declarations, owner: undefined }];
  const methods = declarations.filter(ts.isClassDeclaration).flatMap(({ members }) => members.filter(isPublicMethod));
  const variable = symbol.flags & ts.SymbolFlags.Variable ? checker.getTypeOfSymbol(symbol) : undefined;
  const properties = variable?.getProperties().map((property) => checker.getTypeOfSymbol(property)) ?? [];
  const members = properties.flatMap((type) =>
    type.getCallSignatures().map(({ declaration }) => declaration as ts.FunctionDeclaration),
  );
  return [...methods, ...members].map((declaration) => ({
    name: `${symbol.name}.${(declaration.name as ts.Identifier).text}`,
    declarations: [declaration],
    owner: symbol,
  }));
}

function isPublicMethod(member: ts.ClassElement): member is ts.MethodDeclaration {
  return ts.isMethodDeclaration(member) && ts.isIdentifier(member.name) && !docOf([member]).includes("@internal");
}

/** The doc comments of some declarations, without their stars. */
function docOf(declarations: readonly ts.Declaration[]): string {
  return declarations
    .flatMap((declaration) => ts.getJSDocCommentsAndTags(declaration))
    .filter(ts.isJSDoc)
    .map((doc) => doc.getText().replaceAll(/^\s*\* ?/gm, ""))
    .join("\n");
}

/** What stands between `@example` and the next tag. */
function exampleOf(declarations: readonly ts.Declaration[]): string | undefined {
  return /^@example\n(.*?)(?=^@|^\/$)/ms.exec(docOf(declarations))?.[1];
}

const examples = functions.flatMap(({ name, declarations, owner }, n) => {
  const own = exampleOf(declarations);
  if (own === undefined) return [];
  const before = owner && !own.includes("import ") ? (exampleOf(owner.declarations ?? []) ?? "") : "";
  return [{ name, code: `${before}${own}`, file: join(folder, `${name}-${n}`) }];
});

let results: ReturnType<typeof runSnippets>;

beforeAll(() => {
  writeSnippets(folder, examples);
  results = runSnippets(examples);
}, 120_000);

describe("the API reference", () => {
  it("knows the functions", () => expect(functions.length).toBeGreaterThan(30));

  it.each(Array.from(exports, (symbol) => [symbol.name, symbol.declarations ?? []] as const))(
    "lists %s under a task",
    (_, declarations) =>
      expect(categoryOrder).toContain(/@category ([^\n@*]+?)\s*(?:@|\*\/|$)/m.exec(docOf(declarations))?.[1]),
  );

  it.each(functions.map(({ name, declarations }) => [name, declarations] as const))(
    "has an example of %s",
    (_, declarations) => expect(exampleOf(declarations)).toBeDefined(),
  );

  it.each(examples.map((example) => [example.name, example] as const))(
    "runs the example of %s, which prints what it says",
    (_, { file, code }) => {
      const result = results.get(file);
      expect(result, "the example, or one before it, did not finish").toBeDefined();
      expect(result!.error).toBeUndefined();
      expect(result!.printed).toEqual(expectedLines(code));
    },
  );

  it("has examples that are right to a strict type checker", { timeout: 120_000 }, () => {
    const errors = typeErrors(examples, ["node"]).map(({ file, message }) => {
      return `${file ? basename(file) : "the program"}: ${message}`;
    });
    expect(errors).toEqual([]);
  });
});
