// How a call reads its options: once, at entry, into a record of its own. After that no code of the caller runs any more
// (getters, Proxies), and no option is passed over in silence.
import { checkInteger, checkObject, isObject, quote } from "./check.ts";
import { MAX_ELEMENTS } from "./limits.ts";

/** Reads the value of an option: copies what the caller's code could change later. */
type Reader = (value: unknown, title: string) => unknown;

/** How an option is read: as it is, or by a reader. */
type Read = 0 | Reader;

/** The options of a call, each with how it is read. */
export type Names<Options> = { readonly [Name in keyof Required<Options>]: Read };

/** What records inherit from, so that a property of Object.prototype is no option. */
const NOTHING = /* @__PURE__ */ Object.freeze(/* @__PURE__ */ Object.create(null)) as object;

/**
 * A record of the options that are given: own enumerable properties, each read once.
 *
 * @param call what errors call the function, or the option whose value `given` is
 * @throws TypeError where `given` is no object, or has an option that the call does not know
 */
export function readOptions<Options extends object>(
  call: string,
  given: unknown,
  names: Names<Options>,
  title = "options",
): Options {
  checkObject(title, given);
  const options = Object.assign(Object.create(NOTHING) as Record<string, unknown>, given);
  for (const name in options) {
    if (!Object.hasOwn(names, name)) throw unknownOption(call, name, Object.keys(names));
    const read = names[name as keyof Options];
    if (read !== 0) options[name] = read(options[name], name);
  }
  return options as Options;
}

/** A record of options of our own making, which like those of {@link readOptions} inherits nothing. */
export function record<Options extends object[]>(...options: Options): Merged<Options> {
  return Object.assign(Object.create(NOTHING) as object, ...options) as Merged<Options>;
}

type Merged<Parts> = Parts extends [infer First, ...infer Rest] ? First & Merged<Rest> : unknown;

/** Reads an option that may be an object with options of its own, such as `window`. */
export function nested<Options>(names: Names<Options>): Reader {
  return (value, title) => (isRecord(value) ? readOptions(title, value, names as Names<object>, title) : value);
}

/**
 * Reads an array: a copy, up to the first value that is missing, of at most `most` values. A Proxy may claim any length,
 * and have a value at every place.
 */
export function list(value: unknown, most: number): unknown {
  if (!Array.isArray(value)) return value;
  const copy: unknown[] = [];
  const length: unknown = value.length;
  // No array has another length: null is refused where an array is expected.
  if (!Number.isSafeInteger(length) || (length as number) < 0) return null;
  const end = Math.min(length as number, most);
  for (let i = 0; i < end && (i === 0 || copy[i - 1] !== undefined); i++) copy.push(value[i]);
  return copy;
}

/** Reads an array of any length up to MAX_ELEMENTS. */
export function elements(value: unknown, title: string): unknown {
  const read = list(value, MAX_ELEMENTS + 1);
  if (Array.isArray(read)) checkInteger(`${title}.length`, read.length, 0, MAX_ELEMENTS);
  return read;
}

/** The most dimensions that are read of a shape, more than any has. */
export const MOST_DIMENSIONS = 8;

/** Whether a value is an object that may have options: neither an array nor a view of memory. */
function isRecord(value: unknown): value is object {
  return isObject(value) && !ArrayBuffer.isView(value) && !Array.isArray(value);
}

/** The error for an option that a call does not know, with the name that was probably meant. */
function unknownOption(call: string, name: string, known: readonly string[]): TypeError {
  const meant = nearestName(name, known);
  return new TypeError(`${quote(name)} is no option of ${call}${meant ? `; did you mean "${meant}"?` : ""}`);
}

/** What PyTorch, ONNX, Keras, Hugging Face and flash-attention call our options, {@link plain}. */
const SYNONYMS: Partial<Record<string, string>> = {
  keepMask: "mask attnmask attentionmask keypaddingmask",
  window: "slidingwindow windowsize",
  numHeads: "numattentionheads",
  numKvHeads: "numkeyvalueheads",
  headDim: "headsize",
  causal: "unidirectional",
  scale: "softmaxscale",
  bias: "attnbias",
  base: "ropetheta theta",
  frequencies: "invfreq",
  attentionScale: "attentionfactor attentionscaling mscale",
  rotaryDim: "rotaryembeddingdim",
  sections: "mropesection",
  sectionsInterleaved: "mropeinterleaved",
  positions: "positionids",
  weights: "needweights out",
  capacity: "maxseqlen",
};

/** The name among `known` that a wrong one most likely stands for; undefined where none is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const wanted = plain(name);
  return known.find((option) => SYNONYMS[option]?.split(" ").includes(wanted)) ?? closestName(name, known);
}

/** The name among `known` that is spelt most like a wrong one; undefined where none is near. */
export function closestName(name: string, known: readonly string[]): string | undefined {
  const wanted = plain(name).slice(0, COMPARED);
  let best: string | undefined;
  let least = 1 + Math.max(1, Math.floor(wanted.length / 3));
  for (const candidate of known) {
    const distance = editDistance(wanted, plain(candidate));
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

/** The most characters of a name that are compared. */
const COMPARED = 40;

/** A name in small letters, without "_", "-" and a leading "is", in which the ways of writing names differ. */
function plain(name: string): string {
  return name.replace(/[_-]/g, "").toLowerCase().replace(/^is/, "");
}

/** How many letters must be put in, taken out or changed to make one of the other (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = [...Array(b.length + 1).keys()];
  for (const letter of a) {
    const next = [row[0]! + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(row[j]! + Number(letter !== b[j]), row[j + 1]! + 1, next[j]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
