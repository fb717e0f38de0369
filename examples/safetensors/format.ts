// The safetensors format (https://huggingface.co/docs/safetensors): the length of a header as u64, the header, JSON
// with the dtype, the shape and the place of each tensor, and the tensors, little-endian. Tensors are read alone, in
// pieces, so that a file may be larger than memory.

/** Where the bytes of a file come from. */
export interface Source {
  /** For error messages. */
  title: string;
  /** Bytes. */
  size: number;
  /** Fills `into` with the bytes from `at` on. */
  read(into: Uint8Array<ArrayBuffer>, at: number): void;
}

/** A tensor as the header has it: its bytes are [start, end) of the file. */
export interface Entry {
  dtype: string;
  shape: readonly number[];
  start: number;
  end: number;
}

/** The tensors of a file by name, in the order in which it has them. */
export type Header = ReadonlyMap<string, Entry>;

/** A tensor in C order: of f32, or of 16 bits as the file has them. */
export type FloatTensor =
  { data: Float32Array; shape: number[] } | { data: Uint16Array; dtype: "F16" | "BF16"; shape: number[] };

/** Bits of one value. */
const BITS: ReadonlyMap<unknown, number> = new Map(
  [
    { bits: 4, names: ["F4"] },
    { bits: 6, names: ["F6_E2M3", "F6_E3M2"] },
    { bits: 8, names: ["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"] },
    { bits: 16, names: ["U16", "I16", "F16", "BF16"] },
    { bits: 32, names: ["U32", "I32", "F32"] },
    { bits: 64, names: ["U64", "I64", "F64", "C64"] },
  ].flatMap(({ bits, names }) => names.map((name) => [name, bits] as const)),
);
/** The dtypes that are read; F64 becomes f32. */
export const FLOATS: readonly string[] = ["F32", "F16", "BF16", "F64"];
/** A longer header is refused, as the format's own reader does. */
const MOST_HEADER_BYTES = 100_000_000;
/** Bytes of F64 that are read at once. */
const PIECE = 1 << 20;

/** The bytes of a file that is in memory. */
export function bytesSource(bytes: Uint8Array, title = "the file"): Source {
  return { title, size: bytes.length, read: (into, at) => into.set(bytes.subarray(at, at + into.length)) };
}

/**
 * The header of a file.
 *
 * @throws Error for what is no safetensors file, which names the tensor that is wrong
 */
export function readHeader(source: Source): Header {
  const wrong: Wrong = (why) => new Error(`${source.title} is no safetensors file: ${why}`);
  if (source.size < 8) throw wrong(`it has ${source.size} bytes, and the length of its header takes 8`);
  const length = new DataView(readBytes(source, 0, 8).buffer).getBigUint64(0, true);
  if (length > source.size - 8) throw wrong(`its header would have ${length} bytes, and ${source.size - 8} follow`);
  if (length > MOST_HEADER_BYTES) throw wrong(`its header of ${length} bytes has more than ${MOST_HEADER_BYTES}`);
  const begin = 8 + Number(length);
  const header = parseHeader(readBytes(source, 8, Number(length)), wrong);
  const entries = new Map<string, Entry>();
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") checkMetadata(value, wrong);
    else entries.set(name, entryOf(name, value, begin, source.size, wrong));
  }
  checkPlaces(entries, begin, source.size, wrong);
  return entries;
}

type Wrong = (why: string) => Error;

function parseHeader(bytes: Uint8Array, wrong: Wrong): object {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    throw wrong(`its header is no JSON: ${(error as Error).message}`);
  }
  if (!isObject(header)) throw wrong("its header is no JSON object");
  const twice = repeatedKey(text);
  if (twice !== undefined) throw wrong(`its header has the key ${JSON.stringify(twice)} twice`);
  return header;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A key that some object of a JSON text has twice, of which JSON.parse keeps the last. */
function repeatedKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  const colon = /\s*:/y;
  for (const { 0: token, index } of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}]/g)) {
    colon.lastIndex = index + token.length;
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (colon.test(text)) {
      const key = JSON.parse(token) as string;
      if (open.at(-1)!.has(key)) return key;
      open.at(-1)!.add(key);
    }
  }
  return undefined;
}

function checkMetadata(value: unknown, wrong: Wrong): void {
  if (!isObject(value) || !Object.values(value).every((one) => typeof one === "string")) {
    throw wrong("its __metadata__ is no object of strings");
  }
}

function entryOf(name: string, value: unknown, begin: number, size: number, wrong: Wrong): Entry {
  const title = JSON.stringify(name);
  if (!isObject(value)) throw wrong(`${title} is no object with dtype, shape and data_offsets`);
  const { dtype, shape, data_offsets: offsets } = value;
  const bits = BITS.get(dtype);
  if (bits === undefined) throw wrong(`${title} has the dtype ${JSON.stringify(dtype)}, which the format has not`);
  if (!isSizes(shape)) throw wrong(`${title} has the shape ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw wrong(`${title} has the data_offsets ${JSON.stringify(offsets)}`);
  }
  const [start, end] = offsets.map((offset) => begin + offset) as [number, number];
  if (start > end || end > size) {
    throw wrong(`${title} stands at bytes ${offsets.join(" to ")} of the ${size - begin} that follow the header`);
  }
  const bytes = (shape.reduce((product, dim) => product * dim, 1) * bits) / 8;
  if (bytes !== end - start) {
    const asked = `${dtype as string} of shape [${shape.join(", ")}] takes ${bytes} bytes`;
    throw wrong(`${title}: ${asked}, and its data_offsets give ${end - start}`);
  }
  return { dtype: dtype as string, shape, start, end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
}

/** Every byte behind the header belongs to one tensor. */
function checkPlaces(entries: Header, begin: number, size: number, wrong: Wrong): void {
  const ordered = [...entries].sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let [last, at] = ["the header", begin];
  for (const [name, { start, end }] of ordered) {
    const title = JSON.stringify(name);
    if (start < at) throw wrong(`${title} begins at byte ${start - begin}, inside ${last}`);
    if (start > at) throw wrong(`bytes ${at - begin} to ${start - begin}, before ${title}, belong to no tensor`);
    [last, at] = [title, end];
  }
  if (at < size) throw wrong(`bytes ${at - begin} to ${size - begin}, at its end, belong to no tensor`);
}

/** A tensor. Throws an Error for a dtype that is not in {@link FLOATS}. */
export function readFloats(source: Source, name: string, { dtype, shape: sizes, start, end }: Entry): FloatTensor {
  if (!FLOATS.includes(dtype)) {
    throw new Error(`${source.title}: ${JSON.stringify(name)} is ${dtype}, and ${FLOATS.join(", ")} are read`);
  }
  const shape = [...sizes];
  // Bytes of their own are aligned, wherever the tensor stands in the file.
  if (dtype === "F16" || dtype === "BF16") {
    return { data: new Uint16Array(readBytes(source, start, end - start).buffer), dtype, shape };
  }
  if (dtype === "F32") return { data: new Float32Array(readBytes(source, start, end - start).buffer), shape };
  const data = new Float32Array((end - start) / 8);
  for (let at = start; at < end; at += PIECE) {
    const values = new Float64Array(readBytes(source, at, Math.min(PIECE, end - at)).buffer);
    const large = values.find((value) => Number.isFinite(value) && !Number.isFinite(Math.fround(value)));
    if (large !== undefined)
      throw new Error(`${source.title}: ${JSON.stringify(name)} has ${large}, which f32 has not`);
    data.set(values, (at - start) / 8);
  }
  return { data, shape };
}

function readBytes(source: Source, at: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  source.read(bytes, at);
  return bytes;
}
