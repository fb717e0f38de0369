// How a coordinator speaks with one place: it asks again where no answer came, and brings the place back to the length
// that it should have where it is not sure of it.
import { isObject, isTypedArray } from "../check.ts";
import {
  type AppendRequest,
  type AttendRequest,
  type ShardAnswer,
  type ShardRequest,
  type ShardShape,
  type ShardState,
  checkState,
} from "./messages.ts";

/** Brings a request to a place and its answer back; rejects where that fails. @category Sharded cache */
export type Call = (request: ShardRequest) => Promise<ShardAnswer>;

/** What is wrong with a place. @category Sharded cache */
export type ShardFault =
  /** Calls failed, and their repetitions; `cause` is the last failure. */
  | "unreachable"
  /** It has fewer tokens than it said it had. */
  | "lost"
  /** Another coordinator has opened it since. */
  | "overtaken"
  /** What came was no answer. */
  | "answer";

/** The error of a place. @category Sharded cache */
export class ShardError extends Error {
  override readonly name = "ShardError";
  /** Which place, from 0. */
  readonly place: number;
  readonly fault: ShardFault;

  /** @internal */
  constructor(place: number, fault: ShardFault, message: string, options?: ErrorOptions) {
    super(`place ${place} ${message}`, options);
    this.place = place;
    this.fault = fault;
  }
}

/** How often a call is made again, and how long after the first time; each time the pause doubles. */
export interface Patience {
  retries: number;
  retryMs: number;
}

type Accepted = Extract<ShardAnswer, { ok: true }>;
type Refusal = Extract<ShardAnswer, { ok: false }>["error"];

/** One place, as its coordinator knows it. */
export class Place {
  readonly shape: ShardShape;
  /** The version that the place is known to have had. */
  version = 0;
  /** Whether the place is known to be at `version` and to have as many tokens as it should. */
  isSettled = true;
  readonly #call: Call;
  readonly #patience: Patience;

  constructor(call: Call, shape: ShardShape, patience: Patience) {
    this.#call = call;
    this.shape = shape;
    this.#patience = patience;
  }

  /** The answer to a request. @throws ShardError; where the place refuses, the error of the place */
  async ask(request: ShardRequest): Promise<ShardAnswer> {
    const { place } = this.shape;
    const { retries, retryMs } = this.#patience;
    for (let tries = 1; ; tries++) {
      let given: unknown;
      try {
        given = await this.#call(request);
      } catch (cause) {
        if (tries <= retries) {
          await new Promise((resolve) => setTimeout(resolve, retryMs * 2 ** (tries - 1)));
          continue;
        }
        const why = cause instanceof Error ? cause.message : String(cause);
        const times = tries === 1 ? "once" : `${tries} times`;
        throw new ShardError(place, "unreachable", `gave no answer, ${times}: ${why}`, { cause });
      }
      const answer = this.#read(given);
      if (!answer.ok && answer.reason === "error") throw this.#errorOf(answer.error);
      return answer;
    }
  }

  /**
   * Makes a change. The place counts as settled once it was made.
   *
   * @param length tokens that the place has before
   * @throws as {@link ask}, and ShardError where the place is not at the version before
   */
  async change(request: AppendRequest, length: number): Promise<void> {
    this.isSettled = false;
    let answer = await this.ask(request);
    if (!answer.ok && length === 0 && answer.state!.writer < request.writer) {
      // It started anew, and has nothing to lose.
      await this.#open(request.writer);
      answer = await this.ask({ ...request, from: this.version });
    }
    if (!answer.ok) throw this.#otherState(answer.state!, request.writer);
    this.version = request.version;
    this.isSettled = true;
  }

  /**
   * Makes sure that the place has `length` tokens, where a call before may have left more: those are cut off. It is a
   * change in any case, so that a change that is still under way comes too late.
   *
   * @param length tokens that it must have
   * @param whole tokens of the whole cache
   * @param nextVersion a version that no change has had
   * @throws as {@link ask}, and ShardError where it has fewer tokens, or is another coordinator's
   */
  async settle(length: number, whole: number, writer: number, nextVersion: () => number): Promise<void> {
    let from = this.version;
    while (!this.isSettled) {
      const version = nextVersion();
      const change = { writer, from, version, before: whole, after: whole };
      const answer = await this.ask({ op: "truncate", length, ...change });
      const state = answer.state!;
      if (answer.ok) {
        this.version = version;
        this.isSettled = true;
      } else if (length === 0 && state.writer < writer) {
        await this.#open(writer);
        from = this.version;
      } else {
        const error = this.#otherState(state, writer);
        if (error.fault !== "answer" || state.version === from) throw error;
        if (state.length < length) throw this.lost(state.length, length);
        from = state.version;
      }
    }
  }

  /**
   * What the place gives for some query rows.
   *
   * @param sizes floats of out and of lse
   * @throws as {@link ask}, and ShardError where the place is at another version
   */
  async attend(
    request: AttendRequest,
    writer: number,
    sizes: { out: number; lse: number },
  ): Promise<{ out: Float32Array; lse: Float32Array }> {
    const answer = await this.ask(request);
    if (!answer.ok) throw this.#otherState(answer.state!, writer);
    const { out, lse } = answer;
    for (const name of ["out", "lse"] as const) {
      const rows = answer[name];
      if (isTypedArray("Float32Array", rows) && rows?.length === sizes[name]) continue;
      throw new ShardError(this.shape.place, "answer", `gave no ${sizes[name]} floats of ${name}`);
    }
    return { out: out!, lse: lse! };
  }

  /** Takes the place for its own again, which started anew. */
  async #open(writer: number): Promise<void> {
    const answer = await this.ask({ op: "open", writer, shape: this.shape });
    if (!answer.ok) throw this.#otherState(answer.state!, writer);
    this.version = answer.state.version;
  }

  lost(length: number, expected: number): ShardError {
    return new ShardError(this.shape.place, "lost", `has lost tokens: it has ${length} of ${expected}`);
  }

  /** What a state means that is not the expected one. */
  #otherState(state: ShardState, writer: number): ShardError {
    const { place } = this.shape;
    if (state.writer > writer) {
      return new ShardError(place, "overtaken", "was opened by another coordinator since: open the cache again");
    }
    if (state.writer < writer || state.version < this.version) {
      const what = `it is at version ${state.version}, and was at ${this.version}`;
      return new ShardError(place, "lost", `has lost what it had: ${what}`);
    }
    return new ShardError(place, "answer", `has version ${state.version}, and not ${this.version}`);
  }

  #read(given: unknown): ShardAnswer {
    const answer = given as (Partial<Omit<Accepted, "ok">> & { ok?: boolean }) | null;
    try {
      if (!isObject(answer) || typeof answer.ok !== "boolean") throw new TypeError("no object with ok");
      if (answer.ok) return { ...answer, ok: true, state: checkState(answer.state) };
      const { reason, error, state } = given as { reason?: unknown; error: Refusal; state?: unknown };
      if (reason !== "state" && reason !== "error") throw new TypeError("no reason");
      const { name, message } = error;
      // An answer "state" has one.
      const known = state === null && reason === "error" ? null : checkState(state);
      return { ok: false, reason, error: { name, message }, state: known };
    } catch (cause) {
      throw new ShardError(this.shape.place, "answer", `gave what is no answer: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  /** The error that the place answered with. */
  #errorOf({ name, message }: Refusal): Error {
    const Kind = { TypeError, RangeError, ReferenceError }[name] ?? Error;
    return new Kind(`place ${this.shape.place}: ${message}`);
  }
}
