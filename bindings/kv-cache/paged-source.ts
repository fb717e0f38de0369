import { type KvSource, setKeys, setValues } from "../attention/kv-source.ts";
import { type Arena, integersAt } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { PageLayout } from "./page-layout.ts";
import type { Pages } from "./pages.ts";

/**
 * The source of attention over the pages of some sequences, with a hole for one without tokens: writes their page tables,
 * one behind the other, into the memory of a call.
 */
export function pagedSource(
  arena: Arena,
  scope: CallScope,
  { k, v }: PageLayout,
  sequences: readonly Pages[],
): KvSource {
  let pageCount = 0;
  const offsets = sequences.map((pages) => (pageCount += pages.count) - pages.count);
  const start = scope.reserve(pageCount * 4);
  const table = integersAt(arena, start, pageCount);
  sequences.forEach((pages, b) => pages.writeTable(table.subarray(offsets[b], offsets[b]! + pages.count)));
  const locate: KvSource["locate"] = (args, _, b) => {
    setKeys(args, k.offset, k.rowStride, k.headStride);
    setValues(args, v.offset, v.rowStride, v.headStride);
    args.pages = start + (offsets[b] ?? 0) * 4;
    args.pageCount = sequences[b]?.count ?? 0;
    args.kType = k.type;
    args.vType = v.type;
    args.kScales = k.scales;
    args.vScales = v.scales;
  };
  return { maxKeys: Infinity, locate };
}
