// npm runs this before it publishes. Where a release is not ready, `npm publish` stops with a sentence for each reason.
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * What keeps the package from being published.
 * @param {{ version: string; repository?: string | { url?: string } }} manifest package.json
 * @param {string} changelog CHANGELOG.md
 * @param {Record<string, string | undefined>} environment
 */
export function missing({ version, repository }, changelog, environment) {
  const url = typeof repository === "string" ? repository : repository?.url;
  const heading = new RegExp(`^## ${version.replaceAll(".", "\\.")} — \\d{4}-\\d{2}-\\d{2}$`, "m");
  return [
    ...(url
      ? []
      : [
          "package.json names no repository, and npm proves the origin of a package from the repository it names: " +
            'set "repository": { "type": "git", "url": "git+https://…" }.',
        ]),
    ...(heading.test(changelog) ? [] : [`CHANGELOG.md has no heading "## ${version} — YYYY-MM-DD".`]),
    ...(environment["GITHUB_ACTIONS"] === "true" || environment["GITLAB_CI"] === "true"
      ? []
      : ["npm can prove the origin of what a CI publishes, and this is none: run the release workflow."]),
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = new URL("..", import.meta.url);
  /** @param {string} file */
  const read = (file) => readFileSync(new URL(file, root), "utf8");
  const manifest = /** @type {unknown} */ (JSON.parse(read("package.json")));
  const sentences = missing(/** @type {Parameters<typeof missing>[0]} */ (manifest), read("CHANGELOG.md"), process.env);
  for (const sentence of sentences) console.error(`not published: ${sentence}`);
  process.exitCode = Math.min(sentences.length, 1);
}
