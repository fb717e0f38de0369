import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";
import { checkLinks } from "./check-links.ts";
import { markdown } from "./markdown.ts";
import { api, guides } from "./pages.ts";

const root = join(import.meta.dirname, "../..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  description: string;
  version: string;
  repository?: string | { url: string };
};
const logo = readFileSync(join(import.meta.dirname, "theme/logo.svg"), "utf8");

/** https://github.com/owner/name, once package.json names it. */
const repository = (typeof manifest.repository === "object" ? manifest.repository.url : manifest.repository)?.replace(
  /^git\+|\.git$/g,
  "",
);

/** Said here, since GitHub would show it in the pages. */
const OWN_LAYOUT: Record<string, object> = {
  "index.md": { layout: "Home", sidebar: false, title: "heed", titleTemplate: manifest.description },
  "lens.md": { sidebar: false, aside: false, prev: false, next: false, pageClass: "wide" },
};

export default defineConfig({
  title: "heed",
  description: manifest.description,
  lang: "en",
  outDir: join(root, "build/docs"),
  cacheDir: join(root, "build/docs-cache"),
  srcExclude: ["node_modules/**"],
  rewrites: existsSync(join(root, "docs/decisions/README.md")) ? { "decisions/README.md": "decisions/index.md" } : {},
  head: [
    ["link", { rel: "icon", href: `data:image/svg+xml,${encodeURIComponent(logo)}` }],
    ["meta", { name: "theme-color", content: "#0d7443" }],
  ],
  markdown: markdown(repository),
  // Pictures outside of docs/ are imported while editing, too.
  vue: { template: { transformAssetUrls: { base: null } } },
  // start.js puts the lens there.
  vite: { publicDir: join(root, "build/docs-public"), server: { fs: { allow: [root] } } },
  themeConfig: {
    nav: [
      { text: "Guide", link: "/attention", activeMatch: "^/(?!api/|lens)." },
      { text: "API", link: "/api/", activeMatch: "^/api/" },
      { text: "See it", link: "/lens" },
    ],
    sidebar: { "/": guides(), "/api/": api() },
    outline: { level: [2, 3], label: "On this page" },
    search: {
      provider: "local",
      options: {
        miniSearch: {
          options: {
            // createKvCache is found by "cache" too. Functions travel to the page as text.
            tokenize: (text) =>
              text
                .split(/[\n\r\p{Z}\p{P}\p{S}]+/u)
                .flatMap((word) => [word, ...(/[a-z][A-Z]/.test(word) ? word.split(/(?<=[a-z])(?=[A-Z])/) : [])]),
          },
          searchOptions: {
            boost: { title: 4, titles: 2 },
            boostDocument: (id: string) => (id.includes("/api/") ? 0.5 : 1),
            fuzzy: 0.2,
            prefix: true,
          },
        },
      },
    },
    ...(repository !== undefined && { socialLinks: [{ icon: "github", link: repository }] }),
    footer: { message: `heed ${manifest.version}, Apache-2.0` },
    externalLinkIcon: false,
  },
  transformPageData(page) {
    const own = OWN_LAYOUT[page.relativePath];
    if (own) Object.assign(page.frontmatter, own);
    if (page.relativePath.startsWith("api/")) page.frontmatter.pageClass = "api";
  },
  buildEnd: ({ outDir, site }) => checkLinks(outDir, site.base),
});
