// Calls of heed/onnx that are nearly valid: each gives outputs whose data have the length of their shapes, or throws a
// TypeError or RangeError that begins with a quoted name. Nothing stays in memory, and no call takes long.
import fc from "fast-check";
import { expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { runs } from "../support/sweep.ts";
import { type Call, type Outputs, calls } from "../support/onnx-calls.ts";

const detached = (): Float32Array => {
  const data = new Float32Array(4);
  structuredClone(null, { transfer: [data.buffer] });
  return data;
};

/** Numbers that sizes, lengths and attributes may be, none of them asking for much where they are taken. */
const numbers = fc.oneof(
  fc.integer({ min: -2, max: 9 }),
  fc.constantFrom(
    NaN,
    Infinity,
    -0,
    0.5,
    1e39,
    2 ** 20,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 + 1,
    2 ** 53,
    -(2 ** 31),
    1e-300,
  ),
);
const sizes = fc.oneof(fc.integer({ min: 0, max: 9 }), numbers);
const oddities: fc.Arbitrary<unknown> = fc.oneof(
  numbers,
  fc.constantFrom<unknown>(null, undefined, true, "", "2", 2n, 2n ** 64n, {}, [], () => 1, Symbol("s")),
);
const hole = Object.assign(new Array<number>(4), { 1: 2 });
const shapes: fc.Arbitrary<unknown> = fc.oneof(
  fc.array(sizes, { maxLength: 6 }),
  fc.array(oddities, { maxLength: 5 }),
  fc.constantFrom<unknown>(hole, Int32Array.of(1), "11", new Proxy([1, 2], {})),
);
const datas: fc.Arbitrary<unknown> = fc.oneof(
  fc.integer({ min: 0, max: 64 }).map((length) => new Float32Array(length).fill(0.5)),
  fc.array(fc.integer({ min: -3, max: 9 }), { maxLength: 9 }).map((values) => Int32Array.from(values)),
  fc
    .array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 4 })
    .map((values) => BigInt64Array.from(values)),
  fc.array(fc.integer({ min: 0, max: 1 }), { maxLength: 64 }).map((values) => Uint8Array.from(values)),
  fc
    .constantFrom<() => unknown>(
      detached,
      () => new Float64Array(4),
      () => [1, 2],
    )
    .map((make) => make()),
  oddities,
);
const tensors = fc.oneof(
  { weight: 3, arbitrary: fc.record({ data: datas, shape: shapes }) },
  // Of the right length, whatever the kind and the sizes.
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 5 }),
        fc.constantFrom(Float32Array, Int32Array, Uint8Array),
      )
      .map(([shape, Kind]) => ({ data: new Kind(shape.reduce((a, b) => a * b, 1)).fill(1), shape })),
  },
  // Of no elements.
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.array(fc.constantFrom(0, 1, 2, 2 ** 20, 2 ** 31 - 1), { minLength: 1, maxLength: 5 }),
        fc.nat({ max: 4 }),
      )
      .map(([shape, at]) => ({
        data: new Float32Array(0),
        shape: shape.map((size, i) => (i === at % shape.length ? 0 : size)),
      })),
  },
  { weight: 1, arbitrary: oddities },
);

const INPUTS =
  "Q K V attn_mask past_key past_value nonpad_kv_seqlen input weights bias mask_index past attention_bias query key " +
  "value key_padding_mask past_sequence_length seqlens_k total_sequence_length cos_cache sin_cache position_ids " +
  "head_sink q_norm_weight k_norm_weight X cache_indirection k_scale v_scale __proto__ constructor";
const ATTRIBUTES =
  "is_causal q_num_heads kv_num_heads scale softcap softmax_precision qk_matmul_output_mode left_window_size " +
  "right_window_size num_heads unidirectional mask_filter_value qkv_hidden_sizes past_present_share_buffer do_rotary " +
  "rotary_embedding_dim causal local_window_size rotary_interleaved smooth_softmax qk_output qk_norm_epsilon " +
  "sliding_window_cache k_quant_type v_quant_type kv_cache_bit_width interleaved is_packed_batching __proto__ constructor";

type Change = { kind: "inputs" | "attributes"; name: number; own: boolean; value: unknown };
const names = { inputs: INPUTS.split(" "), attributes: ATTRIBUTES.split(" ") };
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant("inputs" as const), name: fc.nat(), own: fc.boolean(), value: tensors }),
  fc.record({
    kind: fc.constant("attributes" as const),
    name: fc.nat(),
    own: fc.boolean(),
    value: fc.oneof(oddities, fc.array(sizes, { maxLength: 4 }), fc.constant(1)),
  }),
);
const small = fc.integer({ min: 0, max: 3 });

/** A copy of a call with changes: `own` ones to what the call gives, others to anything that an operator knows. */
function changed([, operator, inputs, attributes]: Call, changes: Change[]): [Call[1], object, object] {
  const given = { inputs: { ...inputs }, attributes: { ...attributes } };
  for (const { kind, name, own, value } of changes) {
    const candidates = own ? Object.keys(given[kind]) : names[kind];
    if (candidates.length === 0) continue;
    Object.defineProperty(given[kind], candidates[name % candidates.length]!, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return [operator, given.inputs, given.attributes];
}

forEachBuild((_, open) => {
  const heed = open(2 ** 26);

  it("gives outputs as long as their shapes, or names what is wrong", () => {
    const { used } = heed.memory;
    let [given, refused] = [0, 0];
    fc.assert(
      fc.property(
        fc.tuple(small, small, small, small),
        fc.nat(),
        fc.array(change, { maxLength: 3 }),
        (dims, which, changes) => {
          const all = calls(...dims);
          const [operator, inputs, attributes] = changed(all[which % all.length]!, changes);
          try {
            const outputs: Outputs = operator(heed, inputs as never, attributes as never);
            for (const name of Object.keys(outputs)) {
              const { data, shape } = outputs[name]!;
              expect(data.length, name).toBe(shape.reduce((product, size) => product * size, 1));
            }
            given++;
          } catch (error) {
            if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
            // The name is that of an input or attribute, none of heed's own options.
            const name = /^"(\w+)[\w.[\]]*" /.exec(error.message)?.[1];
            if (!["inputs", "attributes", ...names.inputs].includes(name!)) throw error;
            refused++;
          }
          expect(heed.memory.used).toBe(used);
        },
      ),
      { numRuns: runs(12_000), seed: 12 },
    );
    // Both happen: the changes are neither harmless nor hopeless.
    expect(Math.min(given, refused)).toBeGreaterThan(200);
    const ones = new Float32Array(4).fill(1);
    expect(heed.attention(ones, ones, ones, { numHeads: 1, headDim: 4 }).out).toEqual(ones);
  });
});
