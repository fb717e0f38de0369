// An onnxruntime in a process of its own, with a number of threads, seen from here. Turns are timed there.
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { Contender } from "../harness/entrant.ts";
import type { Answer, Question, Work } from "./stand.ts";

export class Remote {
  readonly #child: ChildProcess;
  /** Who waits for the next answer. */
  #waiting: { resolve(answer: Answer): void; reject(error: Error): void } | undefined;
  version = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (answer: Answer) => this.#settle(answer));
    child.on("error", (error) => this.#settle({ error: String(error) }));
    child.on("exit", (code) => this.#settle({ error: `the process ended with ${code ?? "a signal"}` }));
  }

  /** Starts the process; this file's program is stand.ts, bundled beside it. */
  static async start(runtime: "web" | "node", threads: number): Promise<Remote> {
    const args = [runtime, String(threads)];
    const remote = new Remote(fork(join(import.meta.dirname, "stand.js"), args, { serialization: "advanced" }));
    const answer = await remote.#next();
    if ("version" in answer) remote.version = answer.version;
    return remote;
  }

  /** Every form of a work, ready to run there. Closes what was open before. */
  async open(work: Work): Promise<Contender[]> {
    await this.#ask({ ask: "close" });
    const answer = await this.#ask({ ask: "open", work });
    const forms = "forms" in answer ? answer.forms : [];
    return forms.map(({ name, form, kind }, of) => ({
      name,
      form,
      kind,
      run: () => this.#turn(of, 0),
      turn: (ms) => this.#turn(of, ms),
      result: async () => {
        const result = await this.#ask({ ask: "result", of });
        return "out" in result ? result.out : new Float32Array();
      },
    }));
  }

  /** Ends the process. */
  end(): void {
    this.#waiting = undefined;
    if (this.#child.connected) this.#child.disconnect();
  }

  async #turn(of: number, ms: number): Promise<number[]> {
    const answer = await this.#ask({ ask: "turn", of, ms });
    return "samples" in answer ? answer.samples : [];
  }

  async #ask(question: Question): Promise<Answer> {
    this.#child.send(question);
    return this.#next();
  }

  #next(): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  #settle(answer: Answer): void {
    const { resolve, reject } = this.#waiting ?? {};
    this.#waiting = undefined;
    if ("error" in answer) reject?.(new Error(answer.error));
    else resolve?.(answer);
  }
}
