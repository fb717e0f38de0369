// Caches of GroupQueryAttention that are int8, or no longer than a window: against the f64 reference over plain arrays.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { onnxGroupQueryAttention } from "../../bindings/onnx/index.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Plain, expectAttention, ints, swapped, tensor } from "../support/onnx.ts";
import { runs } from "../support/sweep.ts";

const [KV_HEADS, DIM] = [2, 8];
const attributes = { num_heads: 4, kv_num_heads: KV_HEADS };
type Scales = { data: Float32Array<ArrayBuffer>; shape: number[] };

/** The scale of an element of [batch, heads, rows, dim]. */
const scaleOf = ({ data }: Scales, rows: number, at: number) =>
  data.length === 1 ? data[0]! : data[(Math.floor(at / (rows * DIM)) % KV_HEADS) * DIM + (at % DIM)]!;

/** The nearest of two neighbours, the even one of two that are as near; from −128 to 127. */
function toInt8(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  const nearest = rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
  return Math.min(127, Math.max(-128, nearest));
}

/** What ONNX Runtime stores of floats, in f32 arithmetic: x times the inverse of the scale; 0 counts as 1. */
const quantized = ({ data, shape }: Plain, scales: Scales) =>
  Int8Array.from(data, (x, at) => toInt8(Math.fround(x * Math.fround(1 / (scaleOf(scales, shape[2]!, at) || 1)))));

const floatsOf = (data: Int8Array, shape: number[], scales: Scales): Plain => ({
  data: Float32Array.from(data, (q, at) => q * scaleOf(scales, shape[2]!, at)),
  shape,
});

const kinds: Record<string, Scales[]> = {
  PER_TENSOR: [0.05, 0.01, -0.03].map((scale) => ({ data: Float32Array.of(scale), shape: [1] })),
  PER_CHANNEL: [
    // Of all sizes, and one of 0.
    { data: Float32Array.from({ length: 16 }, (_, n) => (n === 3 ? 0 : 0.01 * (n + 1))), shape: [1, 2, 1, 8] },
    { data: Float32Array.from({ length: 16 }, (_, n) => 0.03 / (n + 1)), shape: [2, 8] },
  ],
};
const scaled = fc
  .constantFrom("PER_TENSOR", "PER_CHANNEL")
  .chain((type) => fc.constantFrom(...kinds[type]!).map((scale) => ({ type, scale })));

/** The rows [from, to) of every head. */
function rows({ data, shape }: Plain, from: number, to: number): Plain {
  const [batch, heads, length, dim] = shape as [number, number, number, number];
  const taken = new Float32Array(batch * heads * (to - from) * dim);
  for (let n = 0; n < batch * heads; n++) {
    taken.set(data.subarray((n * length + from) * dim, (n * length + to) * dim), n * (to - from) * dim);
  }
  return { data: taken, shape: [batch, heads, to - from, dim] };
}

const stepOf = (query: Plain, key: Plain, value: Plain, total: number) => ({
  query,
  key,
  value,
  seqlens_k: ints([total - 1]),
  total_sequence_length: ints([total]),
});

forEachBuild((_, open) => {
  const heed = open();

  it("int8: stores new rows rounded half to even and saturated, and attends to what is stored", () => {
    fc.assert(
      fc.property(
        scaled,
        scaled,
        fc.nat({ max: 9 }),
        fc.integer({ min: 1, max: 4 }),
        fc.nat({ max: 3 }),
        (k, v, past, news, room) => {
          const shape = [2, KV_HEADS, past + room, DIM];
          const bytes = (seed: number) =>
            Int8Array.from({ length: 2 * KV_HEADS * (past + room) * DIM }, (_, n) => ((n * 89 + seed) % 256) - 128);
          const [query, key, value] = [
            tensor(2, news, 4 * DIM),
            tensor(2, news, KV_HEADS * DIM),
            tensor(2, news, KV_HEADS * DIM),
          ];
          // Halves, and what is beyond int8.
          [0.5, 1.5, -2.5, 300, -300].forEach((x, n) => (key.data[n] = x * (k.scale.data[0] || 1)));
          const total = past + news;
          const inputs = {
            ...{ query, key, value, k_scale: k.scale, v_scale: v.scale },
            ...{ past_key: { data: bytes(1), shape }, past_value: { data: bytes(2), shape } },
            ...{ seqlens_k: ints([total - 1, total - 1]), total_sequence_length: ints([total]) },
          };
          const outputs = onnxGroupQueryAttention(heed, inputs, {
            ...attributes,
            k_quant_type: k.type,
            v_quant_type: v.type,
            kv_cache_bit_width: 8,
          });
          const length = Math.max(total, past + room);
          const expected = ([given, next, scale]: [Int8Array, Plain, Scales]) => {
            const fresh = quantized(next, scale);
            const all = new Int8Array(2 * KV_HEADS * length * DIM);
            for (let n = 0; n < 4; n++) {
              all.set(given.subarray(n * (past + room) * DIM, (n * (past + room) + past) * DIM), n * length * DIM);
              all.set(fresh.subarray(n * news * DIM, (n + 1) * news * DIM), (n * length + past) * DIM);
            }
            return all;
          };
          const keys = expected([inputs.past_key.data, swapped(key, KV_HEADS), k.scale]);
          const values = expected([inputs.past_value.data, swapped(value, KV_HEADS), v.scale]);
          const all = [2, KV_HEADS, length, DIM];
          expect([outputs.present_key, outputs.present_value]).toEqual([
            { data: keys, shape: all },
            { data: values, shape: all },
          ]);
          const options = { causal: true, queryOffset: past, kvLengths: Int32Array.of(total, total) };
          expectAttention(
            outputs.output,
            swapped(query, 4),
            floatsOf(keys, all, k.scale),
            floatsOf(values, all, v.scale),
            options,
          );
        },
      ),
      { seed: 1, numRuns: runs(100) },
    );
  });

  describe("a cache of a window", () => {
    const run = (window: number, capacity: number, steps: number[], int8 = false) => {
      const length = steps.reduce((sum, n) => sum + n);
      const [q, k, v] = [
        tensor(1, length, 4 * DIM),
        tensor(1, length, KV_HEADS * DIM),
        tensor(1, length, KV_HEADS * DIM),
      ];
      const scale = { data: Float32Array.of(0.02), shape: [1] };
      const stored = [k, v].map((x) => {
        const plain = swapped(x, KV_HEADS);
        return int8 ? floatsOf(quantized(plain, scale), plain.shape, scale) : plain;
      }) as [Plain, Plain];
      const zeros = KV_HEADS * capacity * DIM;
      const shape = [1, KV_HEADS, capacity, DIM];
      const fresh = () => ({ data: int8 ? new Int8Array(zeros) : new Float32Array(zeros), shape });
      let past: { past_key: object; past_value: object } = { past_key: fresh(), past_value: fresh() };
      const more = int8 ? { k_quant_type: "PER_TENSOR", v_quant_type: "PER_TENSOR", kv_cache_bit_width: 8 } : {};
      let at = 0;
      for (const news of steps) {
        const take = (x: Plain) => {
          const width = x.shape[2]!;
          return { data: x.data.slice(at * width, (at + news) * width), shape: [1, news, width] };
        };
        const total = at + news;
        const inputs = {
          ...stepOf(take(q), take(k), take(v), total),
          ...past,
          ...(int8 && { k_scale: scale, v_scale: scale }),
        };
        const outputs = onnxGroupQueryAttention(heed, inputs as never, {
          ...attributes,
          ...more,
          local_window_size: window,
          sliding_window_cache: 1,
        });
        // As if the cache had all keys.
        const seen = stored.map((rowsOf) => rows(rowsOf, 0, total)) as [Plain, Plain];
        const options = { causal: true, queryOffset: at, window: { left: window - 1 } };
        expectAttention(outputs.output, rows(swapped(q, 4), at, total), ...seen, options);
        // The formula of the operator: blocks of G tokens go.
        const block = capacity - window + 1;
        let resident = total;
        while (resident > capacity) resident -= block;
        [outputs.present_key, outputs.present_value].forEach((present, n) => {
          expect(present.shape).toEqual(shape);
          const plain = int8 ? floatsOf(present.data as unknown as Int8Array, shape, scale) : (present as Plain);
          expect(rows(plain, 0, resident)).toEqual(rows(stored[n]!, total - resident, total));
          expect(rows(plain, resident, capacity).data.every((x) => x === 0)).toBe(true);
        });
        expect(outputs.output_qk).toEqual({ data: new Float32Array(0), shape: [1, 4, news, 0] });
        past = { past_key: outputs.present_key, past_value: outputs.present_value };
        at = total;
      }
    };

    it("gives what a cache of all keys gives, and keeps what the operator says it keeps", () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 6 }),
          fc.nat({ max: 5 }),
          fc.array(fc.constantFrom(1, 1, 1, 2, 5, 13), { minLength: 1, maxLength: 12 }),
          fc.boolean(),
          (window, spare, steps, int8) => run(window, window + spare, steps, int8),
        ),
        { seed: 2, numRuns: runs(60) },
      );
    });

    it("keeps sequences of different lengths, and rotates by positions in the text", () => {
      // The same two sequences, alone and in a batch; they have 9 and 30 tokens, the cache 6 rows.
      const [window, capacity] = [4, 6];
      const tables = { cos_cache: tensor(40, 4), sin_cache: tensor(40, 4) };
      const residents = [9, 30].map((n) => {
        while (n > capacity) n -= capacity - window + 1;
        return n;
      });
      const ends = [10, 31];
      const inputs = { query: tensor(2, 1, 32), key: tensor(2, 1, 16), value: tensor(2, 1, 16) };
      const past = { past_key: tensor(2, KV_HEADS, capacity, DIM), past_value: tensor(2, KV_HEADS, capacity, DIM) };
      // Nothing reads what is behind the rows that are there.
      for (const { data } of Object.values(past)) {
        for (let n = 0; n < 4; n++) data.fill(NaN, (n * capacity + residents[n >> 1]!) * DIM, (n + 1) * capacity * DIM);
      }
      const more = { ...attributes, do_rotary: 1, local_window_size: window, sliding_window_cache: 1 };
      const both = onnxGroupQueryAttention(
        heed,
        { ...inputs, ...past, ...tables, seqlens_k: ints([9, 30]), total_sequence_length: ints([31]) },
        more,
      );
      ends.forEach((end, b) => {
        const one = (given: Record<string, Plain>) =>
          Object.fromEntries(
            Object.entries(given).map(([name, { data, shape }]) => {
              const size = data.length / 2;
              return [name, { data: data.slice(b * size, (b + 1) * size), shape: [1, ...shape.slice(1)] }];
            }),
          );
        const alone = onnxGroupQueryAttention(
          heed,
          {
            ...one(inputs),
            ...one(past),
            ...tables,
            seqlens_k: ints([end - 1]),
            total_sequence_length: ints([end]),
          } as never,
          more,
        );
        for (const name of ["output", "present_key", "present_value"] as const) {
          expect(one({ [name]: both[name] as Plain })[name]!.data).toEqual(alone[name].data);
        }
        expect(alone.output.data.every(Number.isFinite)).toBe(true);
        // The new key stands behind those that were there, turned by its position in the text.
        let row = end;
        while (row > capacity) row -= capacity - window + 1;
        const [cos, sin] = [tables.cos_cache.data, tables.sin_cache.data];
        const options = { numHeads: KV_HEADS, headDim: DIM, cos, sin, positions: end - 1 };
        const turned = heed.rotary(one({ key: inputs.key })["key"]!.data, options).out;
        expect(rows(alone.present_key as Plain, row - 1, row).data).toEqual(turned);
      });
    });
  });
});
