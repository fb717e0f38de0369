// The cache of GroupQueryAttention: of floats or int8, of whole sequences or of the tokens that a window still sees.
import { checkChoice, wrongKind, wrongValue } from "../check.ts";
import type { FloatForm } from "./halves.ts";
import { type OnnxFloats, type OnnxTensor, type Operands, checkEach, required } from "./operands.ts";
import { pastOf, takeRows, writeRows } from "./past.ts";
import { type RowSizes, Rows, inF32, inForm } from "./rows.ts";

/** The elements of a cache: floats, or int8 with k_scale and v_scale. @category Grouped-query attention */
export type OnnxCacheData = OnnxFloats["data"] | Int8Array;

/** A past. @category Grouped-query attention */
export type OnnxCache<Data extends OnnxCacheData> = OnnxTensor<Data> & { dtype?: "f16" | "bf16" | undefined };

/** What a call computes with, and what it gives back. */
interface Extended {
  /** The rows of the past that are there, then the new ones. */
  keys: Rows;
  values: Rows;
  /** [batch]: the position of the first row of each sequence. */
  firsts: Int32Array;
  presentKey: () => OnnxTensor<unknown>;
  presentValue: () => OnnxTensor<unknown>;
}

/** The past of a call, as its attributes say that it is stored. */
export class GroupQueryCache {
  readonly #past: { key: Rows | undefined; value: Rows | undefined };
  /** How new rows of floats are stored: as the past, or in the form of query where there is none. Of int8 "f32". */
  readonly form: FloatForm;
  /** One for all of K, or one for each channel of each head; undefined where K is stored as floats. */
  readonly #keyScales: Float32Array | undefined;
  readonly #valueScales: Float32Array | undefined;
  /** local_window_size, where the cache holds no more than a window needs. */
  readonly #window: number | undefined;

  /** @throws TypeError or RangeError for inputs and attributes that do not fit, by name */
  constructor(operands: Operands, k: Rows, v: Rows, form: FloatForm) {
    this.#keyScales = scalesOf(operands, "k", k);
    this.#valueScales = scalesOf(operands, "v", v);
    const isInt8 = this.#keyScales !== undefined;
    if (isInt8 !== (this.#valueScales !== undefined)) {
      throw wrongValue(
        "attributes.v_quant_type",
        "NONE where k_quant_type is, and only there",
        isInt8 ? "NONE" : "another",
      );
    }
    const bits = operands.count("kv_cache_bit_width", 0, 0);
    if (isInt8 && bits !== 8) throw wrongValue("attributes.kv_cache_bit_width", "8 (quantised caches are int8)", bits);
    const isWindow = operands.flag("sliding_window_cache");
    for (const name of ["past_key", "past_value"]) {
      // The type of the past, and the capacity of a window, are those of the present.
      const past = isInt8 || isWindow ? required(operands, name, [4]) : operands.floats(name, [4]);
      if (past && past.data instanceof Int8Array !== isInt8) {
        throw wrongKind(`${name}.data`, `${isInt8 ? "Int8Array" : "floats"} (k_quant_type)`, past.data);
      }
    }
    this.form = isInt8 || operands.has("past_key") ? operands.formOf("past_key", "past_value") : form;
    this.#past = pastOf(operands, k, v);
    if (!isWindow) return;
    this.#window = operands.count("local_window_size", 1, -1);
    if (this.#capacity < this.#window) {
      throw wrongValue("past_key.shape[2]", `at least ${this.#window} (local_window_size)`, this.#capacity);
    }
    const reason = "not beside sliding_window_cache";
    operands.refuseInputs(reason, "attention_bias");
    const shows = operands.count("qk_output", 0, 0);
    if (shows !== 0) throw wrongValue("attributes.qk_output", `0 (${reason})`, shows);
  }

  /** Whether the cache has given up what its window does not see. */
  get isWindow(): boolean {
    return this.#window !== undefined;
  }

  /** Rows of past_key and past_value. */
  get #capacity(): number {
    return this.#past.key?.length ?? 0;
  }

  /** Checks where new rows start, and how many keys there are then. */
  check(starts: Int32Array, total: number, newRows: number): void {
    // A window may start anywhere in the text. Else new rows start within the past, or right behind it.
    const room = this.#window === undefined ? this.#capacity : total;
    checkEach("seqlens_k", starts, 0, room, "keys of the past");
    if (total > room + newRows) {
      throw wrongValue("total_sequence_length", `at most ${room + newRows} (rows of past_key and key)`, total);
    }
  }

  /** `starts`: the positions of the first new rows. `ends`: how many keys each sequence has with the new ones. */
  extend(k: Rows, v: Rows, starts: Int32Array, ends: Int32Array, total: number): Extended {
    const capacity = this.#capacity;
    const window = this.#window;
    // A window begins where it began when the past was written.
    const firstOf = (keys: number) => (window === undefined ? 0 : keys - residentOf(keys, capacity, window));
    const firsts = starts.map(firstOf);
    const length =
      window === undefined
        ? Math.max(total, capacity)
        : k.length + starts.reduce((n, at, b) => Math.max(n, at - firsts[b]!), 0);
    const extend = (past: Rows | undefined, rows: Rows, scales: Float32Array | undefined) => {
      const stored = scales ? (quantize(rows, scales) as unknown as Rows) : inForm(rows, this.form);
      const all = writeRows(past, stored, (b) => starts[b]! - firsts[b]!, length);
      const present = () => {
        const given =
          window === undefined
            ? all
            : takeRows(all, (b) => [firstOf(ends[b]!) - firsts[b]!, ends[b]! - firsts[b]!], capacity);
        return given.unpacked;
      };
      return { all: scales ? dequantize(all as unknown as Rows<Int8Array>, scales) : all, present };
    };
    const keys = extend(this.#past.key, k, this.#keyScales);
    const values = extend(this.#past.value, v, this.#valueScales);
    return { keys: keys.all, values: values.all, firsts, presentKey: keys.present, presentValue: values.present };
  }
}

/**
 * How many of a sequence's `keys` are in a cache of a window. ONNX Runtime gives up whole blocks, so that a cache with
 * room beyond its window is not moved at every token (https://github.com/microsoft/onnxruntime/pull/32419).
 */
function residentOf(keys: number, capacity: number, window: number): number {
  const block = capacity - window + 1;
  return keys <= capacity ? keys : keys - block * Math.ceil((keys - capacity) / block);
}

/** The inputs k_scale or v_scale, one element or one for each channel of each head; undefined for a cache of f32. */
function scalesOf(operands: Operands, side: "k" | "v", { heads, dim }: Rows): Float32Array | undefined {
  const [name, attribute] = [`${side}_scale`, `${side}_quant_type`];
  const given = operands.attribute(attribute);
  const types = ["NONE", "PER_TENSOR", "PER_CHANNEL"] as const;
  const type = checkChoice(`attributes.${attribute}`, given === undefined ? "NONE" : given, types);
  if (type === "NONE") {
    operands.refuseInputs(`${attribute} is NONE`, name);
    return undefined;
  }
  const { data } = required(operands, name, [0, 1, 2, 3, 4]);
  const expected = type === "PER_TENSOR" ? 1 : heads * dim;
  if (data.length !== expected) throw wrongValue(`${name}.data`, `${expected} elements (${type})`, data.length);
  const wrong = data.findIndex((scale) => !Number.isFinite(scale));
  if (wrong >= 0) throw wrongValue(`${name}[${wrong}]`, "a finite number", data[wrong]);
  return data as Float32Array;
}

/** The scale of an element of rows in "bhld". */
function scaleIn({ heads, length, dim }: RowSizes, scales: Float32Array): (at: number) => number {
  if (scales.length === 1) return () => scales[0]!;
  return (at) => scales[(Math.floor(at / (length * dim)) % heads) * dim + (at % dim)]!;
}

/** 1.5·2²³: a float of at most 2²² that it is added to loses its fraction, rounded half to even. */
const ROUND = 12582912;

/** Rounds x·(1/scale) to int8, half to even, and saturates, in f32 as ONNX Runtime does. A scale of 0 counts as 1. */
function quantize(rows: Rows, scales: Float32Array): Rows<Int8Array> {
  const scale = scaleIn(rows, scales);
  const data = Int8Array.from(inF32(rows).dataIn("bhld"), (x, at) => {
    const q = Math.fround(x * Math.fround(1 / (scale(at) || 1)));
    return Math.fround(Math.min(Math.max(q, -128), 127) + ROUND) - ROUND;
  });
  return new Rows(rows, "bhld", data);
}

function dequantize(rows: Rows<Int8Array>, scales: Float32Array): Rows {
  const scale = scaleIn(rows, scales);
  return new Rows(
    rows,
    "bhld",
    Float32Array.from(rows.data, (q, at) => q * scale(at)),
  );
}
