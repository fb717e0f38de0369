// What an instance refuses, and that it works on.
import { load } from "heed";
import { type Cases, attend, expect, expectError, small, withHeed } from "./expect.ts";

export const errorCases: Cases = {
  "errors, and what works after them": () =>
    withHeed(async (heed) => {
      const { used } = heed.memory;
      const { q, k, v, options } = small;
      await expectError(
        () => heed.attention(q, k.subarray(1), v, options),
        RangeError,
        /^"k" expected a length divisible by 96/,
      );
      await expectError(() => heed.attention([] as never, k, v, options), TypeError, /^"q" expected a Float32Array/);
      const tensor = heed.tensor(4);
      tensor.dispose();
      await expectError(() => tensor.data, ReferenceError, /disposed/);
      expect(heed.memory.used === used, "no memory kept");
      attend(heed, small);
    }),

  "memory that may not grow is a RangeError": async () => {
    const heed = await load({ maxMemory: 2 ** 20 });
    await expectError(() => heed.tensor(2 ** 20), RangeError, /^"memory" expected to grow/);
    attend(heed, small);
    expect(heed.memory.reserved <= 2 ** 20, "the bound kept");
    heed.dispose();
    await expectError(() => heed.tensor(1), ReferenceError, /disposed/);
  },
};
