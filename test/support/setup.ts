// Before every file of tests: how typed arrays are compared, and what stands in memory that is handed out.
import { expect } from "vitest";
import { poisonFreshMemory } from "./poison.ts";

poisonFreshMemory();

/** The bits of arrays of numbers, as toEqual would compare them, element by element: +0 is not −0, NaN is NaN. */
function sameNumbers(a: unknown, b: unknown): boolean | undefined {
  if (!isNumbers(a) || !isNumbers(b)) return undefined;
  if (a.constructor !== b.constructor || a.length !== b.length) return false;
  for (let n = 0; n < a.length; n++) if (!Object.is(a[n], b[n])) return false;
  return true;
}

type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array;

function isNumbers(x: unknown): x is Numbers {
  return x instanceof Float32Array || x instanceof Float64Array || x instanceof Int32Array || x instanceof Uint8Array;
}

// The equality of vitest walks over the keys of an array as strings: a fifth of all the time of the suite.
expect.addEqualityTesters([sameNumbers]);
