// The masks of a layer: dropMask is keepMask the other way round, and both hold together.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { makeLayer } from "../support/layer.ts";
import { randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";

forEachBuild((_, open) => {
  const heed = open();

  describe("masks", () => {
    const { layer, dims } = makeLayer(heed);
    const x = floats(2 * 11 * dims.embedDim, uniform(13));
    const invert = ({ data, shape }: { data: Uint8Array; shape: readonly number[] }) => ({
      data: data.map((byte) => (byte ? 0 : 1)),
      shape,
    });

    it.each([[[11]], [[11, 11]], [[2, 1, 1, 11]], [[4, 11, 11]], [[2, 4, 11, 11]], [[1]], [[2, 1, 11, 1]]])(
      "dropMask %j is keepMask the other way round",
      (shape) => {
        const keepMask = randomMask(shape);
        expect(layer.forward(x, { batch: 2, dropMask: invert(keepMask) })).toEqual(
          layer.forward(x, { batch: 2, keepMask }),
        );
      },
    );

    it.each([
      [
        [11, 11],
        [2, 1, 1, 11],
      ],
      [
        [2, 1, 1, 11],
        [11, 11],
      ],
      [[11], [4, 1, 1]],
      [[1], [2, 4, 11, 11]],
      [
        [2, 4, 1, 11],
        [11, 1],
      ],
    ])("keepMask %j and dropMask %j hold together", (keep, drop) => {
      const [keepMask, dropMask] = [randomMask(keep), invert(randomMask(drop, 3))];
      const at = (mask: typeof keepMask, cell: number[]) => {
        const shape = [1, 1, 1, 1, ...mask.shape].slice(-4);
        return mask.data[shape.reduce((index, size, i) => index * size + (size === 1 ? 0 : cell[i]!), 0)]!;
      };
      const both = Uint8Array.from({ length: 2 * 4 * 11 * 11 }, (_, n) => {
        const cell = [Math.floor(n / 484), Math.floor(n / 121) % 4, Math.floor(n / 11) % 11, n % 11];
        return at(keepMask, cell) && !at(dropMask, cell) ? 1 : 0;
      });
      expect(layer.forward(x, { batch: 2, keepMask, dropMask, lse: true })).toEqual(
        layer.forward(x, { batch: 2, keepMask: { data: both, shape: [2, 4, 11, 11] }, lse: true }),
      );
    });
  });
});
