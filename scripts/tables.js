// node scripts/tables.js: prints the tables of sizes and hosts and writes them between their markers: whole into
// docs/hosts.md, short into README.md. Sizes are those of dist/; hosts are what `npm run test:runtimes` and `npm run
// test:browsers` found, where they have run (build/hosts/). node scripts/tables.js --print: prints them only. node
// scripts/tables.js --check: fails where the hosts of either page are not what they found just now.
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { transform } from "esbuild";
import { format, resolveConfig } from "prettier";

/**
 * @typedef {{ name: string; how: string; version: string; isSystem?: boolean; variant: string; passed: number; failed:
 * number }} Host
 */

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
 * @param {(Uint8Array | undefined)[]} files
 */
function sizesOf(name, ...files) {
  const sum = (/** @type {(file: Uint8Array) => number} */ size) =>
    kB(files.reduce((total, file) => total + (file ? size(file) : 0), 0));
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

/** The exports of package.json. */
const exported = JSON.stringify(/** @type {{ exports: object }} */ (parse("package.json")).exports);

/** Every file that is exported. */
function fileSizes() {
  const files = exported.match(/(?<=")\.\/dist\/[^"]+\.(wasm|js)(?=")/g) ?? [];
  return table(
    ["file", "raw", "gzip", "brotli"],
    ...[...new Set(files)].sort().map((file) => sizesOf(`\`${file.slice(2)}\``, readFileSync(file))),
  );
}

/** What an application gets by importing heed. */
async function bundleSizes() {
  const names = ["simd", "relaxed", "linear.simd", "linear.relaxed"];
  const wasm = names.map((name) => readFileSync(`dist/${name}.wasm`));
  const rows = [
    sizesOf("a page, with both builds inside", await minified("dist/index.js")),
    sizesOf("a Worker, with its wasm files", await minified("dist/workerd.js"), ...wasm),
  ];
  if (exported.includes("./dist/slim.js")) {
    rows.splice(1, 0, sizesOf("a page with `heed/slim` and one wasm file", await minified("dist/slim.js"), wasm[1]));
  }
  return table(["what you ship, minified", "raw", "gzip", "brotli"], ...rows);
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
 * The names of hosts in one line, the versions of Node together.
 * @param {Host[]} hosts
 */
function namesOf(hosts) {
  const names = [...new Set(hosts.filter(({ failed }) => failed === 0).map(({ name }) => name))];
  const versions = names.filter((name) => name.startsWith("Node ")).map((name) => name.slice("Node ".length));
  const others = names.filter((name) => !name.startsWith("Node "));
  return [...(versions.length > 0 ? [`Node ${versions.join(", ")}`] : []), ...others].join(" · ");
}

/**
 * Whether the line of README.md names a host.
 * @param {string} readme
 * @param {Host} host
 */
function names(readme, { name }) {
  const [, line = ""] = /<!-- hosts:[^>]*-->\s*(.*?)\s*<!-- \/hosts -->/s.exec(readme) ?? [];
  const places = line.split(/\s*·\s*/).flatMap((place) =>
    place.startsWith("Node ")
      ? place
          .slice("Node ".length)
          .split(", ")
          .map((version) => `Node ${version}`)
      : [place],
  );
  return places.includes(name);
}

/**
 * A page with `content` between the markers `name`.
 * @param {string} page
 * @param {string} text
 * @param {string} name
 * @param {string} content
 */
function place(page, text, name, content) {
  const markers = new RegExp(`(<!-- ${name}:[^>]*-->\n).*?(\n<!-- /${name} -->)`, "s");
  if (!markers.test(text)) throw new Error(`${page} has no markers for ${name}`);
  return text.replace(markers, (_, start, end) => `${start}\n${content}\n${end}`);
}

const found = foundHosts();
if (process.argv.includes("--check")) {
  const [readme, page] = ["README.md", "docs/hosts.md"].map((file) => readFileSync(file, "utf8"));
  for (const host of found) {
    // What the system brings is updated by the system: its version may differ.
    const pattern = lineOf({ ...host, version: host.isSystem ? "ANY" : host.version })
      .replaceAll(/[|.*()]/g, "\\$&")
      .replaceAll(" ", " *")
      .replace("ANY", "[^|]+");
    const lacking = [];
    if (!new RegExp(`^${pattern}$`, "m").test(page ?? "") || host.failed > 0) lacking.push("docs/hosts.md");
    if (!names(readme ?? "", host)) lacking.push("README.md");
    if (lacking.length === 0) continue;
    console.error(`the hosts of ${lacking.join(" and ")} lack: ${lineOf(host)}`);
    process.exitCode = 1;
  }
  if (found.length === 0) throw new Error("no host has run: npm run test:runtimes, npm run test:browsers");
} else {
  const hosts = found.length > 0;
  /** @type {Record<string, Record<string, string>>} */
  const pages = {
    "README.md": { sizes: await bundleSizes(), ...(hosts && { hosts: namesOf(found) }) },
    "docs/hosts.md": {
      sizes: fileSizes(),
      ...(hosts && { hosts: table(["host", "where", "version", "build"], ...found.map(rowOf)) }),
    },
  };
  for (const [page, tables] of Object.entries(pages)) {
    let text = readFileSync(page, "utf8");
    for (const [name, content] of Object.entries(tables)) {
      console.log(await format(content, { parser: "markdown" }));
      text = place(page, text, name, content);
    }
    if (process.argv.includes("--print")) continue;
    writeFileSync(page, await format(text, { ...(await resolveConfig(page)), parser: "markdown" }));
  }
}
