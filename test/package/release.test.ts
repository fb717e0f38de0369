// What `npm publish` asks before it publishes (scripts/check-release.js).
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { missing } from "../../scripts/check-release.js";

const root = new URL("../..", import.meta.url);
const manifest = { version: "1.2.3", repository: { url: "git+https://example.com/heed.git" } };
const changelog = "# Changelog\n\n## 1.2.3 — 2026-12-01\n\n## 1.2.2 — 2026-11-01\n";
const ci = { GITHUB_ACTIONS: "true" };

it("lets a release pass that is ready", () => {
  expect(missing(manifest, changelog, ci)).toEqual([]);
  expect(missing({ ...manifest, repository: "github:owner/heed" }, changelog, { GITLAB_CI: "true" })).toEqual([]);
});

it.each([
  ["no repository", { version: "1.2.3" }, changelog, ci, /^package\.json names no repository/],
  ["a repository without a URL", { ...manifest, repository: {} }, changelog, ci, /^package\.json names no repository/],
  ["a version that CHANGELOG.md lacks", { ...manifest, version: "1.2.4" }, changelog, ci, /"## 1\.2\.4 — YYYY-MM-DD"/],
  ["a version that is unreleased", manifest, "## 1.2.3 — unreleased\n", ci, /"## 1\.2\.3 — YYYY-MM-DD"/],
  ["a version that is part of another", { ...manifest, version: "2.3" }, changelog, ci, /"## 2\.3 — YYYY-MM-DD"/],
  ["a machine that is no CI", manifest, changelog, {}, /run the release workflow/],
] as const)("says one sentence of %s", (_, wrong, text, environment, sentence) => {
  expect(missing(wrong, text, environment)).toEqual([expect.stringMatching(sentence)]);
});

it("runs before a package is published, and not before it is packed", () => {
  const { scripts } = JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as {
    scripts: Record<string, string>;
  };
  expect(scripts["prepublishOnly"]).toBe("node scripts/check-release.js");
  expect(scripts["prepack"]).not.toContain("check-release");
});

it("stops, and says what is missing, outside a CI", () => {
  const env = { ...process.env, GITHUB_ACTIONS: "", GITLAB_CI: "" };
  const { status, stderr } = spawnSync(process.execPath, ["scripts/check-release.js"], {
    cwd: root,
    env,
    encoding: "utf8",
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^not published: .+\n$/s);
});
