// heed/onnx at its edges: empty sizes, numbers that say more than the data, and masks that are none.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { ints, tensor } from "../support/onnx.ts";
import { A, type Call, G, M, R, calls, gqa, heads, shape, shapesOf, tables } from "../support/onnx-calls.ts";

forEachBuild((_, open) => {
  const heed = open();
  const run = ([, operator, inputs, attributes]: Call) => operator(heed, inputs as never, attributes as never);

  describe("empty sizes give empty outputs of the right shapes", () => {
    for (const [b, q, k, p] of [
      [0, 2, 3, 0],
      [0, 2, 3, 5],
      [0, 0, 0, 0],
      [2, 0, 3, 0],
      [2, 0, 0, 5],
      [2, 2, 0, 0],
      [2, 2, 0, 5],
    ] as const) {
      it.each(calls(b, q, k, p))(`batch ${b}, ${q} rows, ${k} keys, ${p} before: %s`, (...call) => {
        const { used } = heed.memory;
        const shapes = shapesOf(run(call));
        for (const [name, sizes] of Object.entries(shapes)) {
          const batch = name === "present" ? sizes[1] : sizes[0];
          expect(batch).toBe(b);
        }
        const [first] = Object.values(shapes);
        expect(first).toHaveLength(call[0] === "Attention" || call[0] === "RotaryEmbedding" ? 4 : 3);
        expect(heed.memory.used).toBe(used);
      });
    }

    it("no queries, whose masks have sizes and no data", () => {
      const big = 2 ** 31 - 1;
      const inputs = { Q: shape(0, 4, big, 4), K: shape(0, 2, big, 4), V: shape(0, 2, big, 4) };
      expect(shapesOf(A(heed, { ...inputs, attn_mask: shape(1, 1, big, 0) } as never, {} as never))).toMatchObject({
        Y: [0, 4, big, 4],
        qk_matmul_output: [0, 4, big, big],
      });
    });
  });

  describe("work is that of the data, not of the numbers", () => {
    // Loops over these numbers would take minutes, longer than a test may.
    const many = 2 ** 20;

    it.each(calls(1, 1, 1, 0).map(([name]) => name))("a batch of 2^20 without rows: %s", (name) => {
      for (const p of [0, 0]) {
        const call = calls(many, 0, 0, p).find(([other]) => other === name);
        if (call) shapesOf(run(call));
      }
    });

    it("2^40 heads of the batch without rows", () => {
      const sizes = [2 ** 31 - 1, 2 ** 20, 0, 4] as const;
      const past = { past_key: shape(...sizes), past_value: shape(...sizes) };
      const outputs = A(
        heed,
        { Q: shape(...sizes), K: shape(...sizes), V: shape(...sizes), ...past } as never,
        {} as never,
      );
      expect(shapesOf(outputs)).toMatchObject({ Y: sizes, present_key: sizes, present_value: sizes });
      const packed = shape(2 ** 31 - 1, 0, 8);
      shapesOf(M(heed, { query: packed, key: packed, value: packed } as never, heads as never));
      shapesOf(R(heed, { input: shape(2 ** 30, 2, 0, 4), ...tables, position_ids: ints([0]) } as never, {} as never));
    });

    it("a total_sequence_length beyond the past and the new keys is refused", () => {
      const group = { query: shape(1, 1, 16), key: shape(1, 1, 8), value: shape(1, 1, 8), seqlens_k: ints([0]) };
      const past = { past_key: shape(1, 2, 4, 4), past_value: shape(1, 2, 4, 4) };
      const call =
        (total: number, more: object = {}) =>
        () =>
          G(heed, { ...group, ...more, total_sequence_length: ints([total]) } as never, gqa as never);
      expect(call(2 ** 30)).toThrow(/^"total_sequence_length" expected at most 1 \(/);
      expect(call(6, past)).toThrow(/^"total_sequence_length" expected at most 5 \(/);
      expect(call(5, past)).not.toThrow();
    });

    it("a past_sequence_length beyond the past is refused", () => {
      const rows = shape(1, 1, 8);
      const inputs = { query: rows, key: rows, value: rows, past_sequence_length: ints([2 ** 30]) };
      expect(() => M(heed, inputs as never, heads as never)).toThrow(/^"past_sequence_length" expected from 0 to 0/);
    });
  });

  describe("com.microsoft.Attention: a mask of one element for each sequence is none", () => {
    const inputs = { input: tensor(2, 3, 6), weights: tensor(6, 24) };
    const outputOf = (more: object) => A(heed, { ...inputs, ...more } as never, heads as never)["output"]!;
    // AttentionDummyMask2D of ONNX Runtime: [batch, 1] and [1, 1], whatever they hold.
    it.each([
      [[1, 1], 2, 1],
      [[0, 1], 2, 1],
      [[0], 1, 1],
    ] as [number[], number, number][])("%j, [%i, %i]", (data, ...sizes) => {
      expect(outputOf({ mask_index: ints(data, ...sizes) })).toEqual(outputOf({}));
      const past = { past: tensor(2, 2, 2, 4, 4) };
      expect(outputOf({ ...past, mask_index: ints(data, ...sizes) })).toEqual(outputOf(past));
    });

    it("but of one key it is its padding", () => {
      const one = { ...inputs, input: tensor(2, 1, 6) };
      const masked = A(heed, { ...one, mask_index: ints([0, 1], 2, 1) } as never, { num_heads: 2 } as never);
      const { output } = A(heed, one as never, heads as never);
      // A query that sees padding alone attends to it, so the output says nothing; the form is that of padding.
      expect(masked["output"]).toEqual(output);
      expect(() => outputOf({ mask_index: ints([1, 1], 1, 2) })).toThrow(/^"mask_index.shape" expected/);
    });

    it("MultiHeadAttention has no such form", () => {
      const rows = tensor(2, 3, 8);
      const call = () =>
        M(heed, { query: rows, key: rows, value: rows, key_padding_mask: ints([1, 1], 2, 1) } as never, heads as never);
      expect(call).toThrow(/^"key_padding_mask.shape" expected/);
    });
  });
});
