// An AudioWorklet has the language, WebAssembly and little else: no atob, no fetch, no URL.
import { load } from "heed";

class Attention extends AudioWorkletProcessor {
  constructor() {
    super();
    this.#attend().then(
      (report) => this.port.postMessage(report),
      (error) => this.port.postMessage({ error: String(error) }),
    );
  }

  async #attend() {
    const heed = await load();
    const one = Float32Array.of(3, 4);
    const { out } = heed.attention(one, one, one, { numHeads: 1, headDim: 2 });
    const absent = ["atob", "fetch", "URL", "Response"].filter((name) => !(name in globalThis));
    return { out: Array.from(out), absent };
  }

  process() {
    return false;
  }
}

registerProcessor("attention", Attention);
