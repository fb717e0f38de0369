// Whole models with the names, shapes and configs of their families, seeded, against f64.
import { describe, expect, it } from "vitest";
import { type TransformerOptions, loadTransformerWith } from "../../bindings/transformer/model/load-transformer.ts";
import type { ModelTensor } from "../../bindings/transformer/model/tensors.ts";
import { blocksOf, forEachBuild } from "../support/builds.ts";
import { CAUSAL_TYPES, MODEL_TYPES, smallModel } from "../support/transformer-models.ts";

const A = [3, 17, 0, 36, 5, 5, 11, 2, 30];
const B = [8];
const C = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

forEachBuild((_, open) => {
  const heed = open();
  const load = (options: TransformerOptions) =>
    loadTransformerWith(() => Promise.resolve(blocksOf(heed)), heed, options);
  const far = (out: Float32Array, exact: ArrayLike<number>): number => {
    expect(out.length).toBe(exact.length);
    const difference = Math.hypot(...out.map((value, n) => value - exact[n]!));
    return difference / Math.hypot(...Array.from(exact));
  };
  /** At most twice the error of plain f32, which is small by luck now and then: 4e-6 are 64 of its roundings. */
  const expectNear = (out: Float32Array, exact: Float64Array, plain: Float64Array): void =>
    expect(far(out, exact)).toBeLessThanOrEqual(2 * far(Float32Array.from(plain), exact) + 4e-6);

  describe.each(MODEL_TYPES)("%s", (type) => {
    const { config, tensors, ...exact } = smallModel(type);
    const plain = smallModel(type, Math.fround);

    it("computes what f64 does", async () => {
      using model = await load({ config, tensors });
      expect(model).toMatchObject({ type, hiddenSize: 24, numLayers: 2, numHeads: 3, labels: type === "bert" ? 3 : 2 });
      expectNear(model.encode([A]).hidden, exact.encode(A), plain.encode(A));
      expectNear(model.classify([A]), exact.classify(A), plain.classify(A));
      const { attentions } = model.encode([B, A], { attentions: { layers: [1, 0], heads: [2] } });
      expect(attentions).toHaveLength(2);
      [1, 0].forEach((layer, n) => {
        expectNear(
          attentions![1]![n]!.weights as Float32Array,
          exact.attentions(A, layer).slice(2 * A.length ** 2),
          plain.attentions(A, layer).slice(2 * A.length ** 2),
        );
      });
    });

    it("gives a sequence the same bits whatever is beside it", async () => {
      using model = await load({ config, tensors });
      const { hidden, cuSeqlens } = model.encode([A, B, C]);
      expect([...cuSeqlens]).toEqual([0, A.length, A.length + 1, A.length + 1 + C.length]);
      [A, B, C].forEach((one, n) => {
        const part = hidden.slice(cuSeqlens[n]! * 24, cuSeqlens[n + 1]! * 24);
        expect(model.encode([Int32Array.from(one)]).hidden).toEqual(part);
        expect(model.embed([A, B, C], { pooling: "last", normalize: false }).slice(n * 24, (n + 1) * 24)).toEqual(
          part.slice(-24),
        );
        expect(model.classify([A, B, C]).slice(n * model.labels, (n + 1) * model.labels)).toEqual(
          model.classify([one]),
        );
      });
      expect(model.encode([]).hidden.length).toBe(0);
      expect(model.embed([]).length).toBe(0);
    });
  });

  it("adds the types of a pair", async () => {
    const { config, tensors, encode } = smallModel("bert");
    const plain = smallModel("bert", Math.fround);
    using model = await load({ config, tensors });
    const types = A.map((_, n) => Number(n > 3));
    expectNear(model.encode([A], { types: [types] }).hidden, encode(A, types), plain.encode(A, types));
  });

  it("pools and normalises", async () => {
    const { config, tensors, encode } = smallModel("bert");
    const plain = smallModel("bert", Math.fround);
    using model = await load({ config, tensors });
    const meanOf = (rows: Float64Array, round: (x: number) => number) =>
      Float64Array.from({ length: 24 }, (_, d) =>
        round(A.reduce((sum, _token, n) => round(sum + rows[n * 24 + d]!), 0) / A.length),
      );
    const mean = meanOf(encode(A), (x) => x);
    const plainMean = meanOf(plain.encode(A), Math.fround);
    const unit = (row: Float64Array) => row.map((value) => value / Math.hypot(...row));
    expectNear(model.embed([A], { normalize: false }), mean, plainMean);
    expectNear(model.embed([A]), unit(mean), unit(plainMean));
    expectNear(
      model.embed([A], { pooling: "cls", normalize: false }),
      encode(A).slice(0, 24),
      plain.encode(A).slice(0, 24),
    );
  });

  describe.each(CAUSAL_TYPES)("a session of %s", (type) => {
    const { config, tensors, ...exact } = smallModel(type);
    const plain = smallModel(type, Math.fround);
    const expectLogits = (out: Float32Array, tokens: readonly number[]): void =>
      expectNear(out, exact.logits(tokens).slice(-exact.vocab), plain.logits(tokens).slice(-exact.vocab));

    it("reads a prompt and then token by token", async () => {
      using model = await load({ config, tensors });
      using session = model.start({ capacity: 16 });
      const { logits, attentions } = session.read(A, { attentions: { layers: [1] } });
      expectLogits(logits, A);
      expectNear(attentions![0]!.weights as Float32Array, exact.attentions(A, 1), plain.attentions(A, 1));
      C.slice(0, 7).forEach((token, n) => {
        expectLogits(session.read([token]).logits, [...A, ...C.slice(0, n + 1)]);
      });
      expect(session).toMatchObject({ length: 16, capacity: 16 });
      expect(session.sample({ temperature: 0 })).toBe(session.logits!.indexOf(Math.max(...session.logits!)));
    });

    it("forks, and goes back", async () => {
      using model = await load({ config, tensors });
      using session = model.start();
      session.read(A);
      using fork = session.fork();
      expect(fork.logits).toEqual(session.logits);
      expectLogits(fork.read([7]).logits, [...A, 7]);
      const { logits } = session.read(C.slice(0, 3));
      expectLogits(logits, [...A, ...C.slice(0, 3)]);
      session.truncate(A.length);
      expect(session.logits).toBeUndefined();
      expect(session.read(C.slice(0, 3)).logits).toEqual(logits);
    });
  });

  it.each(["f16", "int8"] as const)("keeps keys and values of a session in %s", async (dtype) => {
    const { config, tensors, logits, vocab } = smallModel("llama");
    using model = await load({ config, tensors });
    using session = model.start({ dtype });
    using wide = model.start();
    const distance = far(session.read(A).logits, logits(A).slice(-vocab));
    expect(distance).toBeGreaterThan(1e-6);
    expect(distance).toBeLessThan(dtype === "f16" ? 3e-3 : 6e-2);
    wide.read(A);
    expect(session.bytes).toBeLessThan(wide.bytes);
  });

  it.each(["int8", "q4"] as const)("has weights of %s", async (dtype) => {
    for (const type of ["bert", "modernbert", "gpt2", "gemma3_text"] as const) {
      const { config, tensors, encode } = smallModel(type);
      using model = await load({ config, tensors, dtype });
      const distance = far(model.encode([A]).hidden, encode(A));
      expect(distance).toBeGreaterThan(1e-4);
      expect(distance).toBeLessThan(dtype === "int8" ? 0.05 : 0.6);
    }
  });

  it.each(["BF16", "F16"])("takes tensors of %s, as if they were converted before", async (dtype) => {
    for (const type of ["bert", "modernbert", "gpt2", "qwen3"] as const) {
      const { config, tensors } = smallModel(type);
      const narrow: Record<string, ModelTensor> = {};
      const wide: Record<string, ModelTensor> = {};
      for (const name in tensors) {
        const { data, shape } = tensors[name]!;
        const bits = new Uint32Array(Float32Array.from(data).buffer);
        if (dtype === "BF16") {
          narrow[name] = { data: Uint16Array.from(bits, (word) => word >>> 16), shape, dtype };
          wide[name] = { data: new Float32Array(bits.map((word) => word & 0xffff0000).buffer), shape };
        } else {
          // Values of binary16 that are normal, or 0.
          const kept = Float32Array.from(data, (x) => (Math.abs(x) < 2 ** -14 ? 0 : x));
          const cut = new Uint32Array(kept.buffer).map((word) => word & 0xffffe000);
          const half = Uint16Array.from(cut, (word) => {
            const exponent = (word >>> 23) & 255;
            return ((word >>> 16) & 0x8000) | (exponent && ((exponent - 112) << 10) | ((word >>> 13) & 1023));
          });
          narrow[name] = { data: half, shape, dtype };
          wide[name] = { data: new Float32Array(cut.buffer), shape, dtype: "F32" };
        }
      }
      using model = await load({ config, tensors: narrow });
      using other = await load({ config, tensors: wide });
      expect(model.encode([A]).hidden).toEqual(other.encode([A]).hidden);
      expect(model.classify([A])).toEqual(other.classify([A]));
    }
  });

  it("takes tensors in any order, one after the other", async () => {
    const { config, tensors } = smallModel("modernbert");
    using model = await load({ config, tensors });
    const entries = Object.entries(tensors).reverse();
    const taken: string[] = [];
    async function* stream() {
      for (const entry of entries) yield await Promise.resolve(entry);
    }
    using streamed = await load({ config, tensors: stream(), onTensor: (name) => taken.push(name) });
    using mapped = await load({ config, tensors: new Map(entries) });
    const { hidden } = model.encode([A]);
    for (const one of [streamed, mapped]) expect(one.encode([A]).hidden).toEqual(hidden);
    expect(taken).toEqual(entries.map(([name]) => name));
  });

  it("takes the names of the model itself, and those of old checkpoints", async () => {
    const { config, tensors, encode } = smallModel("bert");
    const plain = smallModel("bert", Math.fround);
    const renamed = Object.entries(tensors)
      .filter(([name]) => !name.startsWith("classifier") && !name.includes("pooler"))
      .map(
        ([name, tensor]) =>
          [
            name
              .replace("bert.", "")
              .replace(/Norm\.weight$/, "Norm.gamma")
              .replace(/Norm\.bias$/, "Norm.beta"),
            tensor,
          ] as const,
      );
    const cls = ["cls.predictions.bias", { data: new Float32Array(37), shape: [37] }] as const;
    using model = await load({ config, tensors: [...renamed, cls] });
    expectNear(model.encode([A]).hidden, encode(A), plain.encode(A));
    expect(model.labels).toBe(0);
    expect(() => model.classify([A])).toThrow('"classify" expected a model whose tensors have a head');
    expect(() => model.start()).toThrow('"start" expected a model with a head that goes back to the words, got "bert"');
  });

  it("gives the thread back, with the same bits", async () => {
    const { config, tensors } = smallModel("llama");
    using model = await load({ config, tensors });
    const sequences = [A, B, C];
    const slices = { budgetMs: 1e-9 };
    expect(await model.encodeAsync(sequences, slices)).toEqual(model.encode(sequences));
    expect(await model.embedAsync(sequences, slices)).toEqual(model.embed(sequences));
    expect(await model.classifyAsync(sequences, slices)).toEqual(model.classify(sequences));
    using session = model.start();
    using other = model.start();
    const reading = session.readAsync(A, slices);
    expect(() => session.read(B)).toThrow(TypeError);
    expect(() => session.dispose()).toThrow("asynchronous");
    expect(await reading).toEqual(other.read(A));
  });

  it("ends where its signal says so, and forgets what it had read", async () => {
    const { config, tensors } = smallModel("mistral");
    using model = await load({ config, tensors });
    using session = model.start();
    session.read(A);
    const { used } = heed.memory;
    for (let turns = 0; turns < 8; turns++) {
      const stop = new AbortController();
      const reading = session.readAsync(C, { budgetMs: 1e-9, signal: stop.signal });
      const encoding = model.encodeAsync([C], { budgetMs: 1e-9, signal: stop.signal });
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      stop.abort(new Error("enough"));
      await expect(reading).rejects.toThrow("enough");
      await expect(encoding).rejects.toThrow("enough");
      expect(session.length).toBe(A.length);
      expect(heed.memory.used).toBe(used);
    }
  });

  it("leaves nothing in memory", async () => {
    const { used } = heed.memory;
    for (const type of MODEL_TYPES) {
      const { config, tensors } = smallModel(type);
      const model = await load({ config, tensors, dtype: "int8" });
      const before = heed.memory.used;
      model.encode([A, C], { attentions: { layers: [0] } });
      expect(heed.memory.used).toBe(before);
      if (CAUSAL_TYPES.includes(type)) {
        const session = model.start();
        session.read(A);
        session.dispose();
        expect(() => session.read(A)).toThrow(ReferenceError);
        expect(heed.memory.used).toBe(before);
      }
      model.dispose();
      model.dispose();
      expect(() => model.encode([A])).toThrow(ReferenceError);
      expect(heed.memory.used).toBe(used);
    }
  });

  describe("refuses", () => {
    const { config, tensors } = smallModel("qwen3");
    const without = (...names: string[]): Record<string, ModelTensor> =>
      Object.fromEntries(Object.entries(tensors).filter(([name]) => !names.includes(name)));
    const word = "model.embed_tokens.weight";

    const refused: [object, ErrorConstructor, string][] = [
      [{ config: null }, TypeError, '"config" expected an object'],
      [{ config: {} }, RangeError, '"config.model_type" expected one of bert'],
      [{ config: { ...config, model_type: "t5" } }, RangeError, '"config.model_type"'],
      [{ config: { ...config, hidden_size: "24" } }, TypeError, '"config.hidden_size" expected a number, got "24"'],
      [{ config: { ...config, hidden_act: "mish" } }, RangeError, '"config.hidden_act" expected one of gelu'],
      [{ config: { ...config, hidden_act: "relu" } }, RangeError, '"config.hidden_act"'],
      [{ config: { ...config, use_sliding_window: true } }, RangeError, '"config.use_sliding_window"'],
      [{ config: { ...config, quantization_config: { bits: 4 } } }, RangeError, '"config.quantization_config"'],
      [
        { config: { ...config, num_key_value_heads: 2 } },
        RangeError,
        '"config.num_key_value_heads" expected a divisor',
      ],
      [{ config: { ...config, rope_scaling: { rope_type: "other" } } }, RangeError, "rope_type"],
      [{ tensors: 1 }, TypeError, '"tensors" expected an object, got 1'],
      [{ tensors: [1] }, TypeError, '"tensors" expected entries'],
      [{ tensors: without("model.norm.weight") }, TypeError, '"tensors["norm.weight"]" expected a tensor of [24]'],
      [
        { tensors: { ...tensors, "model.extra": tensors[word]! } },
        TypeError,
        '"tensors["model.extra"]" expected a name',
      ],
      [
        { tensors: [...Object.entries(tensors), ["embed_tokens.weight", tensors[word]!]] },
        RangeError,
        '"tensors["embed_tokens.weight"]" expected a name once',
      ],
      [{ tensors: { ...tensors, [word]: null } }, TypeError, `"tensors["${word}"]" expected { data, shape }`],
      [
        { tensors: { ...tensors, [word]: { data: new Float32Array(24), shape: [1, 24] } } },
        RangeError,
        `"tensors["${word}"].shape" expected [37, 24], got "[1, 24]"`,
      ],
      [
        { tensors: { ...tensors, [word]: { data: new Float32Array(24), shape: [37, 24] } } },
        RangeError,
        `"tensors["${word}"].data.length" expected 888`,
      ],
      [{ tensors: { ...tensors, [word]: { ...tensors[word]!, dtype: "I8" } } }, RangeError, '.dtype" expected "F32"'],
      [
        { tensors: { ...tensors, [word]: { ...tensors[word]!, dtype: "F16" } } },
        TypeError,
        '.data" expected a Uint16Array',
      ],
      [{ dtype: "int4" }, RangeError, '"dtype" expected'],
      [{ onTensor: 1 }, TypeError, '"onTensor" expected a function'],
      [{ weights: 1 }, TypeError, '"weights" is no option of loadTransformer'],
    ];
    it.each(refused.map((one, n) => [`${one[2]} (${n})`, ...one] as const))(
      "%s",
      async (_title, given, kind, message) => {
        const { used } = heed.memory;
        const error = await load({ config, tensors, ...given }).catch(
          (caught: unknown) => caught,
        );
        expect(error).toBeInstanceOf(kind);
        expect((error as Error).message).toContain(message);
        expect(heed.memory.used).toBe(used);
      },
    );

    it("what a call cannot take", async () => {
      using model = await load({ config, tensors });
      using session = model.start({ capacity: 10 });
      session.read(A);
      const { used } = heed.memory;
      const calls: [() => unknown, ErrorConstructor, string][] = [
        [() => model.encode(A as never), TypeError, '"sequences[0]" expected'],
        [() => model.encode("x" as never), TypeError, '"sequences" expected an array'],
        [() => model.encode([[]]), RangeError, '"sequences[0].length" expected 1 to 64 tokens, got 0'],
        [() => model.encode([new Int32Array(65)]), RangeError, '"sequences[0].length" expected 1 to 64 tokens, got 65'],
        [() => model.encode([A, [37]]), RangeError, '"sequences[1]" expected numbers from 0 to 36, got 37'],
        [() => model.encode([[1.5]]), TypeError, '"sequences[0]" expected integers, got 1.5'],
        [() => model.encode([A], { types: [A] }), RangeError, '"types" expected nothing'],
        [() => model.encode([A], { attentions: { layers: [2] } }), RangeError, '"attentions.layers" expected'],
        [() => model.encode([A], { attentions: { layers: 0 as never } }), TypeError, '"attentions.layers"'],
        [() => model.encode([A], { attentions: { layers: [0], heads: [3] } }), RangeError, '"heads'],
        [() => model.embed([A], { pooling: "max" as never }), RangeError, '"pooling" expected'],
        [() => model.embed([A], { normalize: 1 as never }), TypeError, '"normalize" expected a boolean'],
        [() => model.start({ capacity: 0 }), RangeError, '"capacity" expected'],
        [() => model.start({ dtype: "q4" as never }), RangeError, '"dtype" expected'],
        [() => session.read([]), RangeError, '"tokens.length" expected 1 to 1 (capacity − length), got 0'],
        [() => session.read(B.concat(B)), RangeError, '"tokens.length" expected 1 to 1 (capacity − length), got 2'],
        [() => session.truncate(11), RangeError, '"length"'],
        [() => model.start().sample({ temperature: 0 }), RangeError, '"length" expected at least 1'],
      ];
      for (const [call, kind, message] of calls) {
        expect(call, message).toThrow(kind);
        expect(call).toThrow(message);
      }
      expect(session.length).toBe(A.length);
      expect(heed.memory.used).toBe(used);
    });
  });
});
