// Requests of anyone: the JSON is read up to a limit, and each value in it is checked before it is used.
// The same file stands in examples/cloudflare-worker and examples/vercel-edge, since each is a project of its own.

import { type Heed, loadSync } from "heed";

const MOST_BYTES = 256 * 1024;
/** Numbers in an answer: 0.7 MB of JSON at most. */
const MOST_NUMBERS = 32_768;
const METHODS = "POST, OPTIONS";
/** JSON, and what `fetch` and `curl -d` say where nobody names a type. */
const TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded"];

/** A request that gets a status and the sentence that says why. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** One instance for all requests of an isolate. The host brings the module compiled, so loading is synchronous. */
let heed: Heed | undefined;

/**
 * Answers a POST with what `compute` makes of its JSON, and everything else with `{ error }` and a status: 400 for a
 * wrong value, 405 for another method, 413 for too much, 415 for what is no JSON.
 *
 * @param compute throws a Refusal, or heed's TypeError or RangeError, which names the argument, what was expected and
 *   what came. Of any other error the caller learns nothing but status 500.
 */
export async function answer(request: Request, compute: (heed: Heed, body: unknown) => unknown): Promise<Response> {
  if (request.method === "OPTIONS") return new Response(null, { status: 204, headers: { allow: METHODS } });
  try {
    const body = await readJson(request);
    heed ??= loadSync();
    return Response.json(compute(heed, body));
  } catch (error) {
    if (error instanceof Refusal) return refuse(error.status, error.message);
    if (error instanceof TypeError || error instanceof RangeError) return refuse(400, error.message);
    console.error(error);
    // Whatever it was, the next request gets a new instance.
    heed?.dispose();
    heed = undefined;
    return refuse(500, "this request could not be answered");
  }
}

function refuse(status: number, error: string): Response {
  return Response.json({ error }, { status, headers: status === 405 ? { allow: METHODS } : {} });
}

async function readJson({ method, headers, body }: Request): Promise<unknown> {
  if (method !== "POST") throw new Refusal(405, `the method expected is POST, got ${method}`);
  const type = headers.get("content-type")?.split(";")[0]!.trim().toLowerCase();
  if (type && !TYPES.includes(type)) throw new Refusal(415, `"content-type" expected ${TYPES[0]!}, got ${say(type)}`);
  const encoding = headers.get("content-encoding");
  if (encoding) throw new Refusal(415, `"content-encoding" expected none, got ${say(encoding)}`);
  // The header is what the caller says: the stream is counted all the same.
  if (Number(headers.get("content-length")) > MOST_BYTES) throw tooLarge();
  const text = body ? await readText(body) : "";
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw wrong("body", "JSON", text);
  }
}

async function readText(body: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const reader = body.getReader();
  let text = "";
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      bytes += value.byteLength;
      if (bytes > MOST_BYTES) break;
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    throw new Refusal(400, '"body" expected text in UTF-8, up to its end');
  }
  reader.cancel().catch(() => undefined);
  throw tooLarge();
}

function tooLarge(): Refusal {
  return new Refusal(413, `"body" expected at most ${MOST_BYTES} bytes`);
}

/** Refuses an answer that is too large, before it is computed. */
export function checkAnswer(numbers: number): void {
  if (numbers > MOST_NUMBERS) {
    throw new Refusal(413, `the answer expected has at most ${MOST_NUMBERS} numbers, and would have ${numbers}`);
  }
}

/** An object that has no fields but `names`. */
export function readFields<Name extends string>(
  title: string,
  value: unknown,
  names: readonly Name[],
): Partial<Record<Name, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(title, "an object", value);
  const other = Object.keys(value).find((key) => !names.includes(key as Name));
  if (other !== undefined) throw wrong(title, `the fields ${names.join(", ")} and no other`, other);
  return value;
}

/** A number from `least` to `most`. */
export function readNumber(title: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && value >= least && value <= most) return value;
  throw wrong(title, `a number from ${least} to ${most}`, value);
}

/** An integer from `least` to `most`. */
export function readInteger(title: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw wrong(title, `an integer from ${least} to ${most}`, value);
}

/** true or false. */
export function readBoolean(title: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrong(title, "a boolean", value);
  return value;
}

/** A string of at most `most` characters, in UTF-16. */
export function readString(title: string, value: unknown, most: number): string {
  if (typeof value !== "string") throw wrong(title, "a string", value);
  if (value.length > most) throw wrong(title, `at most ${most} characters`, value.length);
  return value;
}

/** An array of at most `most` items, each still to be read. */
export function readArray(title: string, value: unknown, items: string, most: number): unknown[] {
  if (!Array.isArray(value)) throw wrong(title, `an array of ${items}`, value);
  if (value.length > most) throw wrong(title, `at most ${most} ${items}`, value.length);
  return value;
}

/** Numbers that are finite, in f32 too: 1e999 and 1e39 are not. */
export function readFloats(title: string, value: unknown, most: number): Float32Array {
  const numbers = readArray(title, value, "numbers", most);
  return Float32Array.from(numbers, (number, i) => {
    if (typeof number === "number" && Number.isFinite(Math.fround(number))) return number;
    throw wrong(`${title}[${i}]`, "a finite number", number);
  });
}

/** Floats as [rows, dim]. */
export interface Rows {
  data: Float32Array;
  rows: number;
  dim: number;
}

/** Rows of numbers, all of one length, which is at most `mostDim`. */
export function readRows(title: string, value: unknown, mostRows: number, mostDim: number): Rows {
  const rows = readArray(title, value, "rows", mostRows).map((row, i) => readFloats(`${title}[${i}]`, row, mostDim));
  const dim = rows[0]?.length ?? 0;
  const data = new Float32Array(rows.length * dim);
  rows.forEach((row, i) => {
    if (row.length !== dim) throw wrong(title, `rows of ${dim} numbers, as the first`, row.length);
    data.set(row, i * dim);
  });
  return { data, rows: rows.length, dim };
}

/** Refuses rows that have not `dim` numbers each; `what` says what these are. */
export function checkDim(title: string, { rows, dim }: Rows, expected: number, what: string): void {
  if (rows > 0 && dim !== expected) throw wrong(title, `rows of ${expected} numbers (${what})`, dim);
}

/** A result as JSON has numbers. It is not finite where sums of large numbers overflow. */
export function numbersOf(floats: Float32Array): number[] {
  if (floats.every(Number.isFinite)) return Array.from(floats);
  throw new Refusal(400, "the result is not finite: smaller numbers are expected");
}

/** The refusal of a value: its name, what was expected, and what came. */
function wrong(title: string, expected: string, got: unknown): Refusal {
  return new Refusal(400, `"${title}" expected ${expected}, got ${say(got)}`);
}

/** A value of JSON in a few words. */
function say(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return String(value);
}
