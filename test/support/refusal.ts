import { expect } from "vitest";

/** The errors that an argument or a use is refused with. */
export type Refusal = typeof TypeError | typeof RangeError | typeof ReferenceError;

/**
 * Expects an error of `kind` that names the argument, says what is expected of it and what came: `"q" expected …, got
 * …`.
 */
export function expectRefusal(kind: Refusal, named: string, call: () => unknown): void {
  let error: unknown;
  try {
    call();
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(kind);
  const [title, rest] = (error as Error).message.split(" expected ");
  expect(title).toBe(`"${named}"`);
  expect(rest).toMatch(/.+, got .+/);
}
