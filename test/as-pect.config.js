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
