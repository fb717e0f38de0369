// Snippets of the documentation as a user's own files: written to a folder of build/, type-checked strictly, and run.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A snippet, and its file in a folder of build/, without the extension. */
export interface SnippetFile {
  file: string;
  code: string;
}

/** What a snippet printed, line by line, or why it failed. */
export interface SnippetRun {
  printed: string[];
  error?: string;
}

/** Writes snippets to `folder`, which is emptied first, as TypeScript. */
export function writeSnippets(folder: string, snippets: readonly SnippetFile[]): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const { file, code } of snippets) writeFileSync(`${file}.ts`, code);
}

/** Runs snippets one after the other in a process of their own; gives those that have finished, by `file`. */
export function runSnippets(snippets: readonly SnippetFile[]): Map<string, SnippetRun> {
  for (const { file, code } of snippets) {
    writeFileSync(`${file}.mjs`, transformSync(code, { loader: "ts", format: "esm", target: "es2022" }).code);
  }
  const runner = join(root, "test/support/run-snippets.js");
  const files = snippets.map(({ file }) => `${file}.mjs`);
  const { stdout } = spawnSync(process.execPath, [runner, ...files], { cwd: root, encoding: "utf8", timeout: 100_000 });
  const lines = stdout.split("\n").filter((line) => line !== "");
  return new Map(
    lines.map((line) => {
      const { file, ...result } = JSON.parse(line) as SnippetRun & { file: string };
      return [file.replace(/\.mjs$/, ""), result];
    }),
  );
}

/** What the `// →` comments of a snippet say that it prints. */
export function expectedLines(code: string): string[] {
  return Array.from(code.matchAll(/\/\/ → ?(.*)$/gm), ([, line]) => line!);
}

/** A complaint of the type checker; `line` counts from 0. */
export interface TypeComplaint {
  file: string | undefined;
  line: number;
  message: string;
}

/** What the type checker says of written snippets in a strict project of a user that knows the types of `types`. */
export function typeErrors(snippets: readonly SnippetFile[], types: string[]): TypeComplaint[] {
  if (snippets.length === 0) return [];
  const program = ts.createProgram(
    snippets.map(({ file }) => `${file}.ts`),
    {
      strict: true,
      exactOptionalPropertyTypes: true,
      verbatimModuleSyntax: true,
      skipLibCheck: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
      types,
    },
  );
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => ({
    file: file?.fileName.replace(/\.ts$/, ""),
    line: file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line : 0,
    message: ts.flattenDiagnosticMessageText(messageText, "\n"),
  }));
}
