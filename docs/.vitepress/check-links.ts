// VitePress checks that the pages exist to which pages link; this checks what they link to inside of them.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** @throws Error that names each link of a built site whose page or whose place in the page does not exist */
export function checkLinks(site: string, base: string): void {
  const files = readdirSync(site, { recursive: true }).map((file) => String(file).replaceAll("\\", "/"));
  const pages = new Map(
    files
      .filter((file) => file.endsWith(".html") && !file.startsWith("live/"))
      .map((file) => [file, readFileSync(join(site, file), "utf8")]),
  );
  const ids = new Map(
    Array.from(pages, ([file, html]) => [file, new Set(Array.from(html.matchAll(/\sid="([^"]*)"/g), ([, id]) => id))]),
  );
  const broken: string[] = [];
  for (const [file, html] of pages) {
    const hrefs = new Set(Array.from(html.matchAll(/<a\s[^>]*?href="([^"]*)"/g), ([, href]) => href!));
    for (const href of hrefs) {
      const { origin, pathname, hash } = new URL(href, `http://site${base}${file}`);
      if (origin !== "http://site") continue;
      const path = decodeURI(pathname).slice(base.length);
      const target = path === "" || path.endsWith("/") ? `${path}index.html` : path;
      const id = decodeURIComponent(hash.slice(1));
      if (!files.includes(target) || (id !== "" && ids.get(target)?.has(id) === false)) broken.push(`${file}: ${href}`);
    }
  }
  if (broken.length > 0) throw new Error(`broken links:\n${broken.join("\n")}`);
}
