// ?in=page runs the cases in the page, ?in=worker in a dedicated worker, ?in=service-worker in a service worker;
// ?in=audio-worklet loads and attends there; ?in=asks asks for two threads and tells what it got. &worker=URL is the
// file that threads start from.
import { load } from "heed";
import { runCases } from "../cases.js";

/** A busy host may take longer than the second that a worker has. */
async function loadTwo() {
  for (;;) {
    const heed = await load({ threads: 2 });
    if (!heed.threadsReason?.includes("no answer")) return heed;
    heed.dispose();
  }
}

/** @type {Record<string, () => Promise<unknown>>} */
const places = {
  page: runCases,
  worker: () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(`worker.js${location.search}`, import.meta.url), { type: "module" });
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    }),
  "service-worker": async () => {
    const { active } = await navigator.serviceWorker
      .register(new URL("service-worker.js", import.meta.url), { type: "module" })
      .then(() => navigator.serviceWorker.ready);
    const { port1, port2 } = new MessageChannel();
    return new Promise((resolve) => {
      port1.onmessage = ({ data }) => resolve(data);
      active?.postMessage("run", [port2]);
    });
  },
  asks: async () => {
    const heed = await loadTwo();
    const { threads, threadsReason } = heed;
    const one = Float32Array.of(3, 4);
    const { out } = heed.attention(one, one, one, { numHeads: 1, headDim: 2 });
    heed.dispose();
    return { isIsolated: crossOriginIsolated, threads, threadsReason, out: Array.from(out) };
  },
  "audio-worklet": async () => {
    const context = new OfflineAudioContext(1, 128, 44100);
    await context.audioWorklet.addModule(new URL("audio-worklet.js", import.meta.url));
    const node = new AudioWorkletNode(context, "attention");
    return new Promise((resolve) => (node.port.onmessage = ({ data }) => resolve(data)));
  },
};

const place = new URLSearchParams(location.search).get("in") ?? "page";
places[place]?.()
  .then(
    (report) => JSON.stringify(report),
    (error) => JSON.stringify({ error: String(error) }),
  )
  .then((text) => {
    const output = document.createElement("output");
    output.textContent = text;
    document.body.append(output);
  });
