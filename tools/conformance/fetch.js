// npm run conformance [-- --from DIR]: fetches the public cases of ONNX and ONNX Runtime and writes them to
// test/conformance/vectors/, which git ignores and `npm test` reads.
//   --from DIR   reads checkouts that are there, DIR/onnx and DIR/onnxruntime, instead of fetching from GitHub
//   --to DIR     writes elsewhere; HEED_CONFORMANCE=DIR then tells the tests
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as onnx from "./onnx.js";
import * as onnxruntime from "./onnxruntime.js";
import { withFiles } from "./repository.js";
import { writeCases } from "./tensor-cases.js";

const { values } = parseArgs({ options: { from: { type: "string" }, to: { type: "string" } } });
const to = values.to ?? join(import.meta.dirname, "../../test/conformance/vectors");

/**
 * The cases of a source, from a checkout that is there or is made.
 * @param {string} name
 * @param {typeof onnx | typeof onnxruntime} source
 */
function casesOf(name, { SOURCE, casesOf: read }) {
  if (values.from !== undefined) return read(join(values.from, name));
  console.error(`conformance: fetching ${SOURCE.repository} at ${SOURCE.commit.slice(0, 10)} …`);
  return withFiles(SOURCE, read);
}

/**
 * @param {string} name
 * @param {import("./repository.js").Source} source
 * @param {import("./tensor-cases.js").Case[]} cases
 */
function write(name, { repository, commit, licence }, cases) {
  writeCases(to, name, { repo: repository, commit, licence }, cases);
  console.log(`${cases.length} cases of ${repository}, ${licence}: ${join(to, `${name}.json`)}`);
}

const onnxCases = casesOf("onnx", onnx);
for (const [name, op] of /** @type {const} */ ([
  ["onnx-attention", "Attention"],
  ["onnx-rotary", "RotaryEmbedding"],
])) {
  write(
    name,
    onnx.SOURCE,
    onnxCases.filter((test) => test.op === op),
  );
}
write("ort-web-attention", onnxruntime.SOURCE, casesOf("onnxruntime", onnxruntime));
