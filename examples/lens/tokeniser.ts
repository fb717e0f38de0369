// The page's side of the worker that tokenises. The worker's program is in the page, compressed: the page is one file.
import type { Reply, Request } from "./tokeniser-worker.ts";

export type Tokens = Omit<Reply, "id">;

export class Tokeniser {
  readonly #worker: Promise<Worker>;
  #id = 0;

  /** `program`: a script, gzip in base64. `failed` hears of an error that is not one of a call. */
  constructor(program: string, failed: (error: Error) => void) {
    this.#worker = start(program);
    this.#worker.then(
      (worker) => (worker.onerror = (event) => failed(new Error(event.message))),
      (error: unknown) => failed(error as Error),
    );
  }

  /** The first `limit` tokens of a text. A call that a later one overtakes is not answered. */
  async read(text: string, limit: number): Promise<Tokens> {
    const id = ++this.#id;
    const worker = await this.#worker;
    return new Promise((resolve) => {
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if (data.id === this.#id) resolve(data);
      };
      worker.postMessage({ id, text, limit } satisfies Request);
    });
  }
}

async function start(program: string): Promise<Worker> {
  const packed = atob(program);
  // Uint8Array.from with a function takes a tenth of a second for a million of them.
  const bytes = new Uint8Array(packed.length);
  for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
  const script = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const blob = new Blob([await new Response(script).blob()], { type: "text/javascript" });
  const url = URL.createObjectURL(blob);
  return new Worker(url);
}
