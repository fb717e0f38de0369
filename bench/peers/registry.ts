import type { Peer } from "./peer.ts";

/** A peer before it is loaded. What cannot run here only loses its own row. */
export interface PeerEntry {
  name: string;
  about: string;
  load(): Promise<Peer>;
}

/** In the order of the table. Each is imported only when it is loaded, so that naming them needs none installed. */
export const PEERS: readonly PeerEntry[] = [
  {
    name: "heed relaxed",
    about: "this repository, relaxed SIMD",
    load: async () => (await import("./heed.ts")).loadHeed("relaxed"),
  },
  {
    name: "heed simd",
    about: "this repository, plain SIMD",
    load: async () => (await import("./heed.ts")).loadHeed("simd"),
  },
  {
    name: "onnxruntime-web",
    about: "its wasm build, one thread",
    load: async () => (await import("./onnxruntime.ts")).loadOnnxruntimeWeb(),
  },
  {
    name: "onnxruntime-node",
    about: "native code, one thread",
    load: async () => (await import("./onnxruntime.ts")).loadOnnxruntimeNode(),
  },
  {
    name: "jax-js wasm",
    about: "its wasm backend; needs Node 22 or later",
    load: async () => {
      const version = process.versions.node;
      if (Number.parseInt(version) < 22) throw new Error(`needs Node 22+, this is ${version}`);
      return (await import("./jax.ts")).loadJax();
    },
  },
  {
    name: "tfjs-wasm",
    about: "its wasm backend, one thread",
    load: async () => (await import("./tfjs.ts")).loadTfjs(),
  },
  {
    name: "plain JS",
    about: "three passes over each query row, no SIMD",
    load: async () => (await import("./plain-js.ts")).plainJs,
  },
];
