import { setFlagsFromString } from "node:v8";

// Node 20 has relaxed SIMD behind a flag, later versions have it without.
if (Number(process.versions.node.split(".")[0]) < 22) setFlagsFromString("--experimental-wasm-relaxed-simd");

export default {
  entries: ["test/kernels/*.spec.ts"],
  disclude: [/node_modules/],
  /**
   * @param {WebAssembly.Memory} memory
   * @param {(imports: object) => object} createImports
   * @param {(binary: Uint8Array, imports: object) => Promise<object>} instantiate
   * @param {Uint8Array} binary
   */
  async instantiate(memory, createImports, instantiate, binary) {
    return instantiate(binary, createImports({ env: { memory } }));
  },
  outputBinary: false,
};
