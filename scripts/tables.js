// node scripts/tables.js: prints the tables of sizes and hosts and writes them into README.md between their markers. Sizes are those of dist/;
// hosts are what `npm run test:runtimes` and `npm run test:browsers` found, where they have run (build/hosts/).
// node scripts/tables.js --print: prints them only.
// node scripts/tables.js --check: fails where the table of hosts is not what they found just now.
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { format } from "prettier";

/** @typedef {{ name: string; how: string; version: string; isSystem?: boolean; variant: string; passed: number; failed: number }} Host */

/**
 * @param {string[]} head
 * @param {string[][]} rows
 */
const table = (head, ...rows) =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");

/**
 * @param {string} file
 * @returns {unknown}
 */
const parse = (file) => JSON.parse(readFileSync(file, "utf8"));

/** @param {number} bytes */
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

/**
 * A row of sizes; several files are compressed each by itself, as they travel.
 * @param {string} name
 * @param {Uint8Array[]} files
 */
function sizesOf(name, ...files) {
  const sum = (/** @type {(file: Uint8Array) => number} */ size) =>
    kB(files.reduce((total, file) => total + size(file), 0));
  return [
    name,
    sum((file) => file.length),
    sum((file) => gzipSync(file, { level: 9 }).length),
    sum((file) => brotliCompressSync(file).length),
  ];
}

/** @param {string} file */
async function minified(file) {
  const { code } = await transform(readFileSync(file, "utf8"), { minify: true, format: "esm", target: "es2022" });
  return Buffer.from(code);
}

async function sizes() {
  const exported = /** @type {{ exports: Record<string, unknown> }} */ (parse("package.json"));
  const files = JSON.stringify(exported.exports).match(/(?<=")\.\/dist\/[^"]+\.(wasm|js)(?=")/g) ?? [];
  const kernels = ["simd", "relaxed"].map((variant) => readFileSync(`dist/${variant}.wasm`));
  return table(
    ["file", "raw", "gzip", "brotli"],
    ...[...new Set(files)].sort().map((file) => sizesOf(`\`${file.slice(2)}\``, readFileSync(file))),
    sizesOf("what a page gets: index.js, minified", await minified("dist/index.js")),
    sizesOf(
      "what a Worker gets: workerd.js, minified, and both wasm files",
      await minified("dist/workerd.js"),
      ...kernels,
    ),
  );
}

/**
 * What ran, the places of one host together.
 * @returns {Host[]}
 */
function foundHosts() {
  if (!existsSync("build/hosts")) return [];
  const order = [
    "Node",
    "Deno",
    "Bun",
    "Cloudflare",
    "Vercel",
    "Chromium",
    "Firefox",
    "WebKit",
    "esbuild",
    "Vite",
    "webpack",
    "Rollup",
  ];
  const position = (/** @type {Host} */ { name }) => order.findIndex((start) => name.startsWith(start));
  /** @type {Map<string, Host>} */
  const hosts = new Map();
  for (const file of readdirSync("build/hosts").sort()) {
    const host = /** @type {Host} */ (parse(`build/hosts/${file}`));
    const key = [host.name, host.version, host.variant].join();
    const same = hosts.get(key);
    hosts.set(
      key,
      same
        ? {
            ...same,
            how: `${same.how}, ${host.how}`,
            passed: same.passed + host.passed,
            failed: same.failed + host.failed,
          }
        : host,
    );
  }
  return [...hosts.values()].sort((a, b) => position(a) - position(b));
}

/** @param {Host} host */
const rowOf = ({ name, how, version, variant, passed, failed }) => [
  name,
  how,
  version,
  failed === 0 ? variant : `**${failed} of ${passed + failed} cases fail**`,
];

/** @param {Host} host */
const lineOf = (host) => `| ${rowOf(host).join(" | ")} |`;

/**
 * README.md with `content` between the markers `name`.
 * @param {string} readme
 * @param {string} name
 * @param {string} content
 */
function place(readme, name, content) {
  const markers = new RegExp(`(<!-- ${name}:[^>]*-->\n).*?(\n<!-- /${name} -->)`, "s");
  if (!markers.test(readme)) throw new Error(`README.md has no markers for ${name}`);
  return readme.replace(markers, (_, start, end) => `${start}\n${content}\n${end}`);
}

const before = readFileSync("README.md", "utf8");
const found = foundHosts();
if (process.argv.includes("--check")) {
  for (const host of found) {
    // What the system brings is updated by the system: its version may differ.
    const pattern = lineOf({ ...host, version: host.isSystem ? "ANY" : host.version })
      .replaceAll(/[|.*()]/g, "\\$&")
      .replaceAll(" ", " *")
      .replace("ANY", "[^|]+");
    if (new RegExp(`^${pattern}$`, "m").test(before) && host.failed === 0) continue;
    console.error(`README.md lacks, in its table of hosts: ${lineOf(host)}`);
    process.exitCode = 1;
  }
  if (found.length === 0) throw new Error("no host has run: npm run test:runtimes, npm run test:browsers");
} else {
  const tables = {
    sizes: await sizes(),
    ...(found.length > 0 ? { hosts: table(["host", "where", "version", "build"], ...found.map(rowOf)) } : {}),
  };
  for (const content of Object.values(tables)) console.log(await format(content, { parser: "markdown" }));
  if (process.argv.includes("--print")) process.exit();
  const after = Object.entries(tables).reduce((readme, [name, content]) => place(readme, name, content), before);
  writeFileSync("README.md", await format(after, { parser: "markdown", printWidth: 120 }));
}
