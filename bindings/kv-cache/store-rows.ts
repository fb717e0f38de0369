import { type Kernels, PAGE_KEYS } from "../engine/abi.ts";
import type { RowsInMemory } from "../memory/staged-rows.ts";
import type { PageRows } from "./page-layout.ts";
import type { Pages } from "./pages.ts";

/**
 * Stores rows of every head as the `count` tokens from `token` on of a sequence; or adds what is to be done, page by page,
 * to `items`, as the arguments of the kernel `storeRows`.
 */
export function storeRows(
  kernels: Kernels,
  pages: Pages,
  token: number,
  count: number,
  to: PageRows,
  from: RowsInMemory,
  items?: number[][],
): void {
  const { dim, rowStride } = from;
  for (let done = 0; done < count;) {
    const rowInPage = (token + done) % PAGE_KEYS;
    const rows = Math.min(count - done, PAGE_KEYS - rowInPage);
    const page = pages.addressOf(token + done);
    for (let kvHead = 0; kvHead < from.heads; kvHead++) {
      const row = page + to.offset + kvHead * to.headStride + rowInPage * to.rowStride;
      const scale = to.scales && page + to.scales + (kvHead * PAGE_KEYS + rowInPage) * 4;
      const ptr = from.ptr + kvHead * from.headStride + done * rowStride;
      if (items) items.push([row, scale, ptr, rows, dim, to.rowStride, rowStride, to.type]);
      else kernels.storeRows(row, scale, ptr, rows, dim, to.rowStride, rowStride, to.type);
    }
    done += rows;
  }
}
