import { checkObject, isObject, quote, wrongKind } from "../../check.ts";
import type { Heed } from "../../heed.ts";
import type { WeightDtype } from "../../layer/linear-weights.ts";
import { type Names, readOptions } from "../../options.ts";
import type { Blocks } from "../blocks.ts";
import type { BlocksOptions } from "../load.ts";
import { readConfig } from "./config.ts";
import type { TransformerConfig } from "./fields.ts";
import type { Family } from "./spec.ts";
import type { ModelTensors } from "./tensors.ts";
import { Transformer } from "./transformer.ts";
import { type Owned, type Weights, openWeights } from "./weights.ts";

/** What `loadTransformer` takes. @category Models */
export interface TransformerOptions extends BlocksOptions {
  /** The config.json of the model. */
  config: TransformerConfig;
  /**
   * Its tensors. Entries that come one after the other, also asynchronously, are packed as they come: what stands in
   * memory is the model and a tensor or two.
   */
  tensors: ModelTensors;
  /** How the weights of linear layers are stored, see `Heed.packLinear`. Default "f32". */
  dtype?: WeightDtype | undefined;
  /** Called for each tensor of the model that was taken. */
  onTensor?: ((name: string) => void) | undefined;
}

export const TRANSFORMER_NAMES: Names<TransformerOptions> = {
  config: 0,
  tensors: 0,
  dtype: 0,
  onTensor: 0,
  module: 0,
};

/** `loadTransformer` of a host, which has loaded the blocks; see there for errors. */
export async function loadTransformerWith(
  loadBlocks: (heed: Heed, options: BlocksOptions) => Promise<Blocks>,
  heed: Heed,
  given: TransformerOptions,
): Promise<Transformer> {
  const { config, tensors, dtype, onTensor, module } = readOptions("loadTransformer", given, TRANSFORMER_NAMES);
  const spec = readConfig(config);
  if (onTensor !== undefined && typeof onTensor !== "function") throw wrongKind("onTensor", "a function", onTensor);
  const blocks = await loadBlocks(heed, module === undefined ? {} : { module });
  const owned: Owned = [];
  try {
    const { parts, weights } = openWeights(heed, spec, dtype, owned);
    for await (const [full, tensor] of entriesOf(tensors)) {
      const name = nameIn(spec.family, full);
      if (parts.knows(name)) {
        parts.take(name, tensor, `tensors[${quote(full)}]`);
        onTensor?.(full);
      } else if (!isIgnored(spec.family, name)) {
        throw wrongKind(`tensors[${quote(full)}]`, `a name that models of type ${quote(spec.type)} have`, full);
      }
    }
    parts.finish();
    return new Transformer({ heed, blocks, spec, weights: weights as Weights }, owned);
  } catch (error) {
    for (const made of owned) made.dispose();
    throw error;
  }
}

/** The entries of the tensors, from whatever has them. */
function entriesOf(tensors: unknown): Iterable<Entry> | AsyncIterable<Entry> {
  checkObject("tensors", tensors);
  if (Symbol.iterator in tensors || Symbol.asyncIterator in tensors) return entriesIn(tensors as Iterable<unknown>);
  return Object.entries(tensors);
}

type Entry = readonly [name: string, tensor: unknown];

async function* entriesIn(tensors: Iterable<unknown> | AsyncIterable<unknown>): AsyncGenerator<Entry> {
  for await (const entry of tensors) {
    if (!isObject(entry) || typeof (entry as Entry)[0] !== "string") {
      throw wrongKind("tensors", "entries [name, { data, shape }]", entry);
    }
    yield entry as Entry;
  }
}

/** A name without what the family puts in front, and as newer versions of transformers write it. */
function nameIn({ prefixes }: Family, name: string): string {
  const prefix = prefixes.find((one) => name.startsWith(one)) ?? "";
  return name
    .slice(prefix.length)
    .replace(/LayerNorm\.gamma$/, "LayerNorm.weight")
    .replace(/LayerNorm\.beta$/, "LayerNorm.bias");
}

/** Whether a tensor has no influence: a buffer, the head of another task, or the words once more. */
function isIgnored({ ignored, names }: Family, name: string): boolean {
  return ignored.test(name) || name === `${names.lmHead}.weight`;
}
