import "./engine/host.ts";

/** A build of heed's kernels, where the host or the bundler compiles what is imported. */
declare const module: WebAssembly.Module;
export default module;
