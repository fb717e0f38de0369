// Every TypeScript snippet of README.md and docs/ is type-checked as a user's own file would be, and run; what it
// prints is what its `// →` comments say. A snippet that cannot run here says why in a comment above it: <!-- not run:
// it needs a browser -->. Every relative link of every page leads somewhere.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import { type Fence, type Page, parsePage } from "../support/markdown.ts";
import { type TypeComplaint, expectedLines, runSnippets, typeErrors, writeSnippets } from "../support/snippets.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = join(root, "build/snippets");

const pages = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"], {
  cwd: root,
  encoding: "utf8",
})
  .trim()
  .split("\n")
  .filter((path) => existsSync(join(root, path)))
  .map((path) => parsePage(path, readFileSync(join(root, path), "utf8")));
const guides = pages.filter(({ path }) => path === "README.md" || path.startsWith("docs/"));
const readme = pages.find(({ path }) => path === "README.md")!;

interface Snippet extends Fence {
  /** page:line */
  place: string;
  /** Its copy in build/snippets/, without the extension. */
  file: string;
}

const fences: Snippet[] = guides.flatMap((page) =>
  page.fences.map((fence, n) => ({
    ...fence,
    place: `${page.path}:${fence.line}`,
    file: join(folder, `${page.path.replaceAll(/\W+/g, "-")}-${n + 1}`),
  })),
);
const snippets = fences.filter(({ language }) => language === "ts");
const checked = snippets.filter(({ mark }) => mark?.kind !== "not checked");
const run = checked.filter(({ mark }) => !mark);

let results: ReturnType<typeof runSnippets>;

beforeAll(() => {
  writeSnippets(folder, checked);
  results = runSnippets(run);
}, 120_000);

describe("snippets", () => {
  it("are there", () => expect(run.length).toBeGreaterThan(20));

  it.each(run.map((snippet) => [snippet.place, snippet] as const))("%s runs and prints what it says", (_, snippet) => {
    const result = results.get(snippet.file);
    expect(result, "the snippet, or one before it, did not finish").toBeDefined();
    expect(result!.error).toBeUndefined();
    expect(result!.printed).toEqual(expectedLines(snippet.code));
  });

  it.for(snippets.filter(({ mark }) => mark).map((snippet) => [snippet.place, snippet] as const))(
    "%s is not run",
    ([, { mark }], { skip }) => skip(mark!.why),
  );

  it("are right to a strict type checker", { timeout: 120_000 }, () => {
    const errors = [
      // What imports nothing of Node has to be right where its types are not known: in a page.
      ...typeErrors(
        checked.filter(({ code }) => !code.includes('"node:')),
        [],
      ),
      ...typeErrors(
        checked.filter(({ code }) => code.includes('"node:')),
        ["node"],
      ),
    ];
    expect(errors.map(placeOf)).toEqual([]);
  });

  it.each(fences.filter(({ language }) => language === "js").map(({ place, code }) => [place, code] as const))(
    "%s is JavaScript for another tool, and is parsed",
    (_, code) => void transformSync(code, { loader: "jsx", format: "esm" }),
  );

  it.each(fences.filter(({ language }) => language === "json").map(({ place, code }) => [place, code] as const))(
    "%s is JSON",
    (_, code) => void JSON.parse(code),
  );

  it("name scripts that there are", () => {
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
    const commands = fences.filter(({ language }) => language === "sh");
    const named = commands.flatMap(({ place, code }) =>
      Array.from(code.matchAll(/\bnpm (?:run )?(start|test|(?<=run )[\w:]+)/g), ([, name]) => `${name!} in ${place}`),
    );
    expect(named.filter((name) => !(name.split(" ")[0]! in manifest.scripts))).toEqual([]);
  });
});

/** A complaint, by page and line. */
function placeOf({ file, line, message }: TypeComplaint): string {
  const snippet = checked.find((one) => one.file === file);
  return `${snippet ? `${snippet.place.split(":")[0]!}:${snippet.line + line}` : (file ?? "the program")}: ${message}`;
}

describe("README.md", () => {
  it("has at most 150 lines", () => expect(readme.lines.length - 1).toBeLessThanOrEqual(150));

  it("begins with the two commands", () => {
    const [first] = readme.fences;
    expect(first?.code).toMatch(/^npm ci && npm start .*\nnpm ci && npm test /);
  });

  it("has a first snippet of at most 12 lines that is JavaScript as it stands", () => {
    const { code } = readme.fences.find(({ language }) => language === "ts")!;
    expect(code.split("\n").length).toBeLessThanOrEqual(12);
    expect(() => transformSync(code, { loader: "js", format: "esm" })).not.toThrow();
    expect(code).not.toContain("node:");
  });
});

describe("links", () => {
  it.each(pages.map((page) => [page.path, page] as const))("of %s lead somewhere", (_, page) => {
    const broken = page.links.filter(({ target }) => !leadsSomewhere(page, target));
    expect(broken.map(({ line, target }) => `${line}: ${target}`)).toEqual([]);
  });

  it("to headings are not ambiguous", () => {
    for (const { path, anchors } of pages.filter(({ path }) => path !== "CHANGELOG.md")) {
      expect(new Set(anchors).size, `headings of ${path}`).toBe(anchors.length);
    }
  });
});

function leadsSomewhere(from: Page, target: string): boolean {
  if (/^[a-z]+:/.test(target)) return true;
  const [path, anchor] = target.split("#") as [string, string?];
  const to = path === "" ? from.path : relative(root, join(root, dirname(from.path), decodeURIComponent(path)));
  if (!existsSync(join(root, to))) return false;
  if (anchor === undefined) return true;
  if (statSync(join(root, to)).isDirectory()) return false;
  return pages.some((page) => page.path === to && page.anchors.includes(anchor));
}
