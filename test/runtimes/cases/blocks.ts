// heed/transformer: its module comes to the host as heed does, and its functions have the same bits everywhere.
import { loadSync } from "heed";
import { loadBlocks, loadBlocksSync } from "heed/transformer";
import { goldenBlockHashes, goldenBlocks } from "../golden-blocks.ts";
import { hashOf } from "../golden-bits.ts";
import { type Cases, expect, withHeed } from "./expect.ts";

export const blockCases: Cases = {
  "heed/transformer on the Tensors of an instance": () =>
    withHeed(async (heed) => {
      const tensor = heed.tensor(2);
      tensor.data.set([-1, 2]);
      for (const blocks of [await loadBlocks(heed), loadBlocksSync(heed)]) {
        const { out } = blocks.activate(tensor, { activation: "relu", out: tensor });
        expect(out === tensor && out.data.join() === "0,2", `0,2, got ${out.data.join()}`);
      }
    }),

  ...Object.fromEntries(
    Object.entries(goldenBlocks).map(([name, call]) => [
      `the same bits everywhere: ${name} of heed/transformer`,
      () => {
        const heed = loadSync({ variant: "simd" });
        const hash = hashOf(call(loadBlocksSync(heed)));
        heed.dispose();
        expect(hash === goldenBlockHashes[name], `${goldenBlockHashes[name]}, got ${hash}`);
      },
    ]),
  ),
};
