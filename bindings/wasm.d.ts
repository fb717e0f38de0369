/** A compiled module as a base64 string: esbuild inlines it. */
declare module "*.wasm" {
  const base64: string;
  export default base64;
}
