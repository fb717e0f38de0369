// The guides in reading order, by task. A page that is in no group fails the build, and so does a name without a page.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { DefaultTheme } from "vitepress";

const GROUPS: { text: string; pages: string[] }[] = [
  {
    text: "Compute",
    pages: [
      "attention",
      "kv-cache",
      "weights-and-merge",
      "rotary",
      "layers-and-importers",
      "transformer",
      "models",
      "onnx",
      "shard",
    ],
  },
  { text: "Speed and accuracy", pages: ["performance", "accuracy"] },
  { text: "Run and see", pages: ["hosts", "lens"] },
  { text: "Inside", pages: ["architecture"] },
];

/** Groups of all the pages of a folder. */
const FOLDERS = [
  { text: "Recipes", folder: "recipes" },
  { text: "Decisions", folder: "decisions" },
];

const docs = join(import.meta.dirname, "..");

/** The groups of guides as the sidebar shows them. */
export function guides(): DefaultTheme.SidebarItem[] {
  const listed = new Set(["index", ...GROUPS.flatMap(({ pages }) => pages)]);
  const unlisted = pagesIn(".").filter((page) => !listed.has(page));
  if (unlisted.length > 0) throw new Error(`docs/.vitepress/pages.ts lists no ${unlisted.join(", ")}`);
  return [
    ...GROUPS.map(({ text, pages }) => ({ text, items: pages.map((page) => entry(page)) })),
    ...FOLDERS.map(({ text, folder }) => ({
      text,
      ...(existsSync(join(docs, folder, "index.md")) && { link: `/${folder}/` }),
      collapsed: folder === "decisions",
      items: pagesIn(folder)
        .filter((page) => page !== "index")
        .map((page) => entry(`${folder}/${page}`)),
    })),
  ];
}

/** The API as TypeDoc lists it: entry points, then tasks. */
export function api(): DefaultTheme.SidebarItem[] {
  const list: unknown = JSON.parse(readFileSync(join(docs, "api/typedoc-sidebar.json"), "utf8"));
  const modules = list as DefaultTheme.SidebarItem[];
  return [{ text: "API reference", link: "/api/" }, ...modules.map((module) => ({ ...module, collapsed: false }))];
}

/** The names of the pages of a folder. */
function pagesIn(folder: string): string[] {
  const files = readdirSync(join(docs, folder)).filter((file) => file.endsWith(".md"));
  return files.map((file) => file.replace(/\.md$/, "")).sort();
}

/** A page under its own title. */
function entry(page: string): DefaultTheme.SidebarItem {
  const title = /^# (.+)$/m.exec(readFileSync(join(docs, `${page}.md`), "utf8"))?.[1];
  if (title === undefined) throw new Error(`docs/${page}.md has no title`);
  return { text: title.replaceAll("`", ""), link: `/${page}` };
}
