// The READMEs of the examples: each is there, in the index, and has its picture.
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const path = (name: string): string => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
const examples = readdirSync(path(""), { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? [entry.name] : [],
);
const index = readFileSync(path("README.md"), "utf8");

/** The files that a README links to or shows, from its folder. */
function linksOf(text: string): string[] {
  const links = [...text.matchAll(/\]\(([^)]+)\)|(?:src|href)="([^"]+)"/g)];
  return links.map((match) => (match[1] ?? match[2])!).filter((link) => !/^[a-z]+:/.test(link));
}

it("the index links to every example, and to nothing that is not there", () => {
  expect(examples.length).toBeGreaterThan(0);
  for (const example of examples) {
    expect(index).toContain(`](${example})`);
    expect(index).toContain(`<img src="${example}/screenshot.png"`);
  }
  for (const link of linksOf(index)) expect(existsSync(path(link)), link).toBe(true);
});

describe.each(examples)("examples/%s", (example) => {
  const readme = existsSync(path(`${example}/README.md`)) ? readFileSync(path(`${example}/README.md`), "utf8") : "";

  it("says what it shows, how to run it, what one sees, how long it takes and what it calls", () => {
    expect(readme).toMatch(/^# .+\n/);
    for (const part of ["```sh\n", "**What you see.**", "**Takes** ", "**Calls of heed**\n\n- `load"]) {
      expect(readme).toContain(part);
    }
  });

  it("links to what is there", () => {
    for (const link of linksOf(readme)) expect(existsSync(path(`${example}/${link}`)), link).toBe(true);
  });

  it("has a picture of at most 150 kB", () => {
    expect(readme).toContain("](screenshot.png)");
    expect(statSync(path(`${example}/screenshot.png`)).size).toBeLessThanOrEqual(150_000);
  });

  it("calls of heed what its README names", () => {
    const own = readdirSync(path(example), { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(ts|js)$/.test(name) && !name.includes("node_modules"))
      .map((name) => readFileSync(path(`${example}/${name}`), "utf8"))
      .join("\n");
    // What it takes from the other examples is its own too.
    const taken = [...own.matchAll(/from "\.\.\/([\w-]+\/[\w-]+\.ts)"/g)].map((match) =>
      readFileSync(path(match[1]!), "utf8"),
    );
    const sources = [own, ...taken].join("\n");
    const calls = [...readme.split("**Calls of heed**")[1]!.matchAll(/`(?:\w+\.)?(\w+)`/g)].map((match) => match[1]!);
    expect(calls.length).toBeGreaterThan(0);
    for (const call of calls) expect(sources).toMatch(new RegExp(`\\b${call}\\b`));
  });
});
