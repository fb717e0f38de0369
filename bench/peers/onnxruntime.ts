import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { InferenceSession, TensorConstructor } from "onnxruntime-common";
import type { Contender } from "../harness/entrant.ts";
import { encodeModel } from "./onnx.ts";
import { type Form, formsOf } from "./onnx-forms.ts";
import type { Peer } from "./peer.ts";

/** What onnxruntime-web and onnxruntime-node have in common. */
interface Runtime {
  InferenceSession: { create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession> };
  Tensor: TensorConstructor;
  env: { versions: { common: string; web?: string; node?: string } };
}

/** One of the two, ready to run any graph. */
export interface OnnxRuntime {
  name: string;
  version: string;
  prepare(form: Form): Promise<Contender>;
}

export async function loadOnnxruntimeWeb(): Promise<Peer> {
  return peer(await loadWebRuntime());
}

export async function loadOnnxruntimeNode(): Promise<Peer> {
  return peer(await loadNodeRuntime());
}

/** onnxruntime-web has one number of threads in a process. With several it starts in Node from its own entry alone. */
export async function loadWebRuntime(threads = 1): Promise<OnnxRuntime> {
  const ort = threads === 1 ? await import("onnxruntime-web/wasm") : await import("onnxruntime-web");
  const { resolve } = createRequire(import.meta.url);
  ort.env.wasm.wasmBinary = await readFile(resolve("onnxruntime-web/ort-wasm-simd-threaded.wasm"));
  ort.env.wasm.numThreads = threads;
  return runtime(ort, { name: "onnxruntime-web", kind: "wasm", version: ort.env.versions.web ?? "", threads });
}

export async function loadNodeRuntime(threads = 1): Promise<OnnxRuntime> {
  const ort = await import("onnxruntime-node");
  return runtime(ort, { name: "onnxruntime-node", kind: "native", version: ort.env.versions.node ?? "", threads });
}

function runtime(
  ort: Runtime,
  { name, kind, version, threads }: { name: string; kind: "wasm" | "native"; version: string; threads: number },
): OnnxRuntime {
  const prepare = async (form: Form): Promise<Contender> => {
    const session = await ort.InferenceSession.create(encodeModel(form.inputs, form.nodes, form.constants), {
      executionProviders: [kind === "wasm" ? "wasm" : "cpu"],
      graphOptimizationLevel: "all",
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // Errors only: the optimiser's remarks would run through the progress line.
      logSeverityLevel: 3,
    });
    const tensors = Object.entries(form.inputs).map(([input, { type, data, dims }]) => [
      input,
      new ort.Tensor(type as "float32", data as Float32Array, dims),
    ]);
    const feeds = Object.fromEntries(tensors) as InferenceSession.FeedsType;
    return {
      name,
      form: form.name,
      kind,
      run: () => session.run(feeds, ["out"]),
      result: async () => {
        const { out } = await session.run(feeds, ["out"]);
        return form.toRows(out!.data as Float32Array);
      },
      dispose: () => session.release(),
    };
  };
  const refused = ({ name: form }: Form, error: unknown): Contender => {
    const fail = (): never => {
      throw error;
    };
    return { name, form, kind, run: fail, result: fail };
  };
  // A form that this runtime refuses is a result of its own and leaves the others in the race.
  return { name, version, prepare: (form) => prepare(form).catch((error: unknown) => refused(form, error)) };
}

function peer({ name, version, prepare }: OnnxRuntime): Peer {
  return {
    name,
    version,
    prepare: async (problem) => {
      const contenders: Contender[] = [];
      for (const form of formsOf(problem)) contenders.push(await prepare(form));
      return contenders;
    },
  };
}
