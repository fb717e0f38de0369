/** The bytes as a base64 string: esbuild inlines them. */
declare module "*.wasm" {
  const base64: string;
  export default base64;
}

/** The file beside the JavaScript, which the host compiles. */
declare module "*.wasm?module" {
  const module: WebAssembly.Module;
  export default module;
}
