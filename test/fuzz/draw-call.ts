// A call of any function, with arguments that fit, and then a few changes.
import { types } from "node:util";
import { BLOCK_MAKERS } from "./block-calls.ts";
import { MAKERS } from "./calls.ts";
import { OTHER_MAKERS } from "./other-calls.ts";
import { type Call, type Maker, sizesOf } from "./parts.ts";
import { type Draw, type Given, type World, chance, hostile, integer, interfering, pick } from "./values.ts";

const ALL: Record<string, Maker> = { ...MAKERS, ...BLOCK_MAKERS, ...OTHER_MAKERS };

export const FUNCTIONS = Object.keys(ALL);

/** Misspelt and foreign names of options. */
const NAMES = ["isCausal", "mask", "interleave", "dtyp", "sink", "__proto__x", "constructor", "Batch", "out_"];

/** Changes one of the arguments, or something within it. */
function change(draw: Draw, world: World, given: Given): Given {
  const { value } = given;
  const isObject =
    typeof value === "object" &&
    value !== null &&
    !types.isProxy(value) &&
    Object.getPrototypeOf(value) === Object.prototype;
  if (!isObject || chance(draw, 8)) return hostile(draw, world);
  if (chance(draw, 4)) return interfering(draw, world, given);
  const names = Object.keys(value);
  const own = Object.getOwnPropertyDescriptors(value) as Record<string, PropertyDescriptor>;
  const name = chance(draw, 4) || names.length === 0 ? pick(draw, NAMES) : pick(draw, names);
  const inner = { value: own[name]?.value as unknown, text: "…" };
  const changed = name in own && chance(draw, 2) ? change(draw, world, inner) : hostile(draw, world);
  own[name] = { value: changed.value, enumerable: true };
  return { value: Object.defineProperties({}, own), text: `${given.text} with ${name}: ${changed.text}` };
}

/** A call of the function `name`, or of any. */
export function callOf(draw: Draw, world: World, name = pick(draw, FUNCTIONS)): Call {
  const call = ALL[name]!(draw, world, sizesOf(draw));
  const { given } = call;
  const changes = given.length === 0 ? 0 : pick(draw, [0, 0, 1, 1, 1, 2]);
  for (let n = 0; n < changes; n++) {
    const place = integer(draw, 0, given.length - 1);
    given[place] = change(draw, world, given[place]!);
  }
  return { ...call, name, changed: changes > 0 };
}
