// Writes tensor-cases/1, which test/conformance/load.ts reads: NAME.json lists the cases, NAME.bin holds their tensors,
// little-endian, in C order, each at a multiple of eight bytes.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/**
 * @typedef {{ dtype: string; shape: number[]; bytes: Uint8Array }} Tensor
 * @typedef {Record<string, Tensor>} Tensors
 * @typedef {object} Case
 * @property {string} name
 * @property {string} op
 * @property {string} domain
 * @property {number} opset
 * @property {Record<string, unknown>} attrs
 * @property {Tensors} inputs
 * @property {Tensors} outputs
 * @property {{ rtol: number; atol: number }} [tolerance]
 * @property {string} [skip] why no exact implementation passes
 */

/**
 * @param {string} folder
 * @param {string} name
 * @param {object} source where the cases come from
 * @param {Case[]} cases
 */
export function writeCases(folder, name, source, cases) {
  /** @type {Uint8Array[]} */
  const parts = [];
  let offset = 0;
  /** @param {Tensors} tensors */
  const place = (tensors) =>
    Object.fromEntries(
      Object.entries(tensors).map(([title, { dtype, shape, bytes }]) => {
        const ref = { dtype, shape, offset, bytes: bytes.length };
        const padding = new Uint8Array(-bytes.length & 7);
        parts.push(bytes, padding);
        offset += bytes.length + padding.length;
        return [title, ref];
      }),
    );
  const placed = cases.map(({ inputs, outputs, ...rest }) => ({
    ...rest,
    inputs: place(inputs),
    outputs: place(outputs),
  }));
  const bin = `${name}.bin`;
  const manifest = { format: "tensor-cases/1", source, bin, binBytes: offset, count: cases.length, cases: placed };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, bin), Buffer.concat(parts));
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(manifest));
}
