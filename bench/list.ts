// What `npm run bench -- --list` prints: the tables, their shapes and the peers, by the names that the options take.
import {
  DECODE_CASES,
  LAYER_NAME,
  MICRO_SHAPE,
  PRODUCTS,
  SHAPES,
  THREAD_CASES,
  WEIGHTS_CASES,
  WEIGHTS_SHAPES,
  nameOfProduct,
} from "./cases/shapes.ts";
import { DTYPE_PRODUCTS } from "./cases/weights-dtype.ts";
import { PEERS } from "./peers/registry.ts";

export function formatList(): string {
  const sections: [title: string, lines: readonly string[]][] = [
    [
      "attention: batch × heads[/KV heads] × queries × keys × headDim (* is part of --quick)",
      SHAPES.map(({ name, quick }) => (quick ? `${name} *` : name)),
    ],
    [
      "--decode: one query against a resident KV cache",
      DECODE_CASES.map(({ dims, dtypes }) => `${dims} ${dtypes.join(", ")}`),
    ],
    ["--layer: rows × inFeatures × outFeatures, and the whole layer", [...PRODUCTS.map(nameOfProduct), LAYER_NAME]],
    [
      "--weights: attention weights of one query beside its decode step",
      WEIGHTS_SHAPES.flatMap((dims) => WEIGHTS_CASES.map(({ what }) => `${what} ${dims}`)),
    ],
    [
      "--scaling: heed beside itself",
      ["causal and windowed masks", "copies in and out", "the smallest call", "growth of time and memory"],
    ],
    [
      "--threads [LIST]: the same on several threads (* is part of --quick), and what threads cost",
      [
        ...THREAD_CASES.map(({ what, quick }) => (quick ? `${what} *` : what)),
        "dispatch and join of a call of nothing",
        "the start of a pool",
      ],
    ],
    ["--async: what a page notices of a long call", ["longest task, abort, time in all, in Chromium and Firefox"]],
    [
      "--precision: attention at half precision beside full, and over rows of 16 bits beside f32",
      ["speed of both, and how far their results are apart", "time and memory of f16 and bf16, in arrays and Tensors"],
    ],
    [
      "--caches: shared and saved KV caches",
      ["forks, and the first append after one", "decoding from shared pages", "save and restore"],
    ],
    [
      "--weights-dtype: the linear layer over weights in int8 and int4",
      DTYPE_PRODUCTS.map(({ product }) => nameOfProduct(product)),
    ],
    [
      "--micro: how close heed comes to what the machine can do",
      [
        "multiply-adds on registers alone, and bare register tiles",
        `heed at ${MICRO_SHAPE.name}`,
        "heed beside a program that takes the second-level cache",
      ],
    ],
    ["--cold: import, load and first call", ["every host of test/runtimes/"]],
    ["--baseline DIR: this build beside an older one", ["all shapes of attention, --decode, --layer and --weights"]],
    ["peers (--peer TEXT)", PEERS.map(({ name, about }) => `${name.padEnd(17)} ${about}`)],
  ];
  return `${sections.map(([title, lines]) => [title, ...lines.map((line) => `  ${line}`)].join("\n")).join("\n\n")}\n`;
}
