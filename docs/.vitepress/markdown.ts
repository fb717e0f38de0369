// The guides are plain markdown that GitHub shows as well; here they get the anchors that GitHub gives them, and what points
// out of docs/ points to the repository.
import { existsSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { slug } from "github-slugger";
import type { MarkdownOptions } from "vitepress";

const docs = resolve(import.meta.dirname, "..");
const root = resolve(docs, "..");

/** @param repository where the files of the repository can be read, if it is anywhere yet */
export function markdown(repository: string | undefined): MarkdownOptions {
  return {
    anchor: { slugify: slug },
    theme: { light: "github-light-high-contrast", dark: "github-dark-default" },
    // Braces in prose are braces.
    attrs: { disable: true },
    config(md) {
      const { text } = md.renderer.rules;
      md.renderer.rules.text = (...args) =>
        (text?.(...args) ?? "").replaceAll("{{", "&#123;&#123;").replaceAll("}}", "&#125;&#125;");

      md.core.ruler.push("links-to-the-repository", (state) => {
        const env = state.env as { path: string };
        const links = state.tokens.flatMap(({ children }) => children ?? []).filter(({ type }) => /^link_/.test(type));
        let isOutside = false;
        for (const token of links) {
          if (token.type === "link_open") {
            const target = fileOf(token.attrGet("href") ?? "", env.path);
            isOutside = target !== undefined;
            if (target === undefined) continue;
            if (!existsSync(join(root, target))) throw new Error(`${env.path} links to ${target}, which is not there`);
            token.type = "outside_open";
            if (repository === undefined) {
              token.tag = "span";
              token.attrs = [["title", `${target} in the repository`]];
            } else token.attrSet("href", `${repository}/blob/main/${target}`);
          } else if (isOutside) {
            token.type = "outside_close";
            if (repository === undefined) token.tag = "span";
          }
        }
      });
    },
  };
}

/** The file of the repository, outside docs/, that a link points to. */
function fileOf(href: string, page: string): string | undefined {
  if (/^([a-z]+:|#|\/)/.test(href)) return;
  const target = resolve(dirname(page), decodeURI(href).replace(/#.*$/, ""));
  return relative(docs, target).startsWith("..") ? relative(root, target) : undefined;
}
