import { inUse } from "../check.ts";

/** The asynchronous calls that use a handle, while which it refuses to be disposed or changed. */
export class Uses {
  readonly #title: string;
  readonly #kind: string;
  /** How many calls read it; −1 where one changes it. */
  #count = 0;

  /** `title` and `kind` name the handle in errors. */
  constructor(title: string, kind: string) {
    this.#title = title;
    this.#kind = kind;
  }

  /** Throws a TypeError where an asynchronous call uses the handle. */
  checkNone(): void {
    if (this.#count !== 0) throw inUse(this.#title, this.#kind);
  }

  /** A use, which ends with the returned function. One that `changes` the handle is the only one at its time. */
  begin(changes = false): () => void {
    if (changes || this.#count < 0) this.checkNone();
    const step = changes ? -1 : 1;
    this.#count += step;
    return () => void (this.#count -= step);
  }
}
