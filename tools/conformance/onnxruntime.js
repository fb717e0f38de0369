// The operator tests of ONNX Runtime for the web: JSON with comments, a list of tests a file, each with its cases.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parse } from "jsonc-parser";
import { CONTRIB, named } from "./operators.js";

/** @type {import("./repository.js").Source} */
export const SOURCE = {
  repository: "microsoft/onnxruntime",
  // August 2026.
  commit: "89b01b406ca7e94078913eea3189e11bef5654c5",
  patterns: ["/js/web/test/data/ops/*attention*.jsonc", "/js/web/test/data/ops/rotary-embedding*.jsonc"],
  licence: "MIT",
};

/** How far off their own runner lets a result be (js/web/test/test-runner.ts, WebGPU): many values have 4 decimals. */
const TOLERANCE = { rtol: 1e-5, atol: 1e-3 };

/** Their expected values are of one kernel, which leaves past_key unread unless present_key is asked for. */
const PAST_UNREAD = [
  "MultiHeadAttention Basic, one head and head-size=1 with pastKey and pastValue",
  "MultiHeadAttention Basic, one head and head-size=4 with pastKey and pastValue",
];

/**
 * @typedef {{ data: (number | string)[] | null; dims?: number[]; type: string }} Value
 * @typedef {object} Test
 * @property {string} name
 * @property {string} operator
 * @property {{ domain: string; version: number }} [opset]
 * @property {{ name: string; data: unknown }[]} [attributes]
 * @property {{ name: string; inputs: Value[]; outputs: Value[] }[]} cases
 */

/**
 * The cases in a checkout of the repository.
 * @param {string} folder
 */
export function casesOf(folder) {
  const data = join(folder, "js/web/test/data/ops");
  const files = readdirSync(data).filter((file) => /(attention|rotary-embedding).*\.jsonc$/.test(file));
  /** @type {Map<string, number>} */
  const seen = new Map();
  /** Names come twice. @param {string} name */
  const unique = (name) => {
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return count === 1 ? name : `${name} #${count}`;
  };
  return files.sort().flatMap((file) => {
    const tests = /** @type {Test[]} */ (parse(readFileSync(join(data, file), "utf8")));
    return tests.flatMap((test) =>
      test.cases.map((one) => ({
        ...caseOf(test, one),
        name: unique(`${file.replace(".jsonc", "")}: ${test.name} / ${one.name}`),
      })),
    );
  });
}

/**
 * @param {Test} test
 * @param {Test["cases"][number]} one
 */
function caseOf({ name, operator: op, opset, attributes = [] }, { inputs, outputs }) {
  const operator = CONTRIB[op];
  if (!operator || opset?.domain !== "com.microsoft") throw new Error(`${op} is no operator of com.microsoft`);
  return {
    op,
    domain: opset.domain,
    opset: opset.version,
    attrs: Object.fromEntries(attributes.map((attribute) => [attribute.name, attribute.data])),
    inputs: named(operator.inputs, inputs.map(tensorOf)),
    outputs: named(operator.outputs, outputs.map(tensorOf)),
    tolerance: TOLERANCE,
    ...(PAST_UNREAD.includes(name) ? { skip: "expects that past_key and past_value are not read" } : {}),
  };
}

/** @type {Record<string, (data: (number | string)[]) => ArrayBufferView>} */
const ARRAYS = {
  float32: (data) => Float32Array.from(data, Number),
  int32: (data) => Int32Array.from(data, Number),
  int64: (data) => BigInt64Array.from(data, BigInt),
  bool: (data) => Uint8Array.from(data, Number),
};

/**
 * An input or output; undefined for one that is left out.
 * @param {Value} value
 * @returns {import("./tensor-cases.js").Tensor | undefined}
 */
function tensorOf({ data, dims = [], type }) {
  if (data === null) return undefined;
  const make = ARRAYS[type];
  if (!make) throw new Error(`a tensor of the type ${type}, which no case had when this was written`);
  const { buffer, byteOffset, byteLength } = make(data);
  return { dtype: type, shape: dims, bytes: new Uint8Array(buffer, byteOffset, byteLength) };
}
