// Whole models with the names, shapes and configs of their families, seeded, against f64.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { CAUSAL_TYPES, MODEL_TYPES } from "../support/transformer-files.ts";
import { distanceOf, loaderOf, smallModel } from "../support/transformer-models.ts";

const A = [3, 17, 0, 36, 5, 5, 11, 2, 30];
const B = [8];
const C = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

forEachBuild((_, open) => {
  const heed = open();
  const load = loaderOf(heed);
  /** At most twice the error of plain f32, which is small by luck now and then: 4e-6 are 64 of its roundings. */
  const expectNear = (out: Float32Array, exact: Float64Array, plain: Float64Array): void =>
    expect(distanceOf(out, exact)).toBeLessThanOrEqual(2 * distanceOf(Float32Array.from(plain), exact) + 4e-6);

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

  it("goes back in every layer, or in none", async () => {
    const { config, tensors } = smallModel("gemma3_text");
    const layer_types = ["full_attention", "sliding_attention"];
    using model = await load({ config: { ...config, layer_types }, tensors });
    using session = model.start({ capacity: 512 });
    for (let n = 0; n < 30; n++) session.read(C);
    expect(() => session.truncate(100)).toThrow(RangeError);
    expect(session.length).toBe(30 * C.length);
    session.read(B);
    session.truncate(0);
    expect(session.length).toBe(0);
  });

  it.each(["f16", "int8"] as const)("keeps keys and values of a session in %s", async (dtype) => {
    const { config, tensors, logits, vocab } = smallModel("llama");
    using model = await load({ config, tensors });
    using session = model.start({ dtype });
    using wide = model.start();
    const distance = distanceOf(session.read(A).logits, logits(A).slice(-vocab));
    expect(distance).toBeGreaterThan(1e-6);
    expect(distance).toBeLessThan(dtype === "f16" ? 3e-3 : 6e-2);
    wide.read(A);
    expect(session.bytes).toBeLessThan(wide.bytes);
  });

  it.each(["int8", "q4"] as const)("has weights of %s", async (dtype) => {
    for (const type of ["bert", "modernbert", "gpt2", "gemma3_text"] as const) {
      const { config, tensors, encode } = smallModel(type);
      using model = await load({ config, tensors, dtype });
      const distance = distanceOf(model.encode([A]).hidden, encode(A));
      expect(distance).toBeGreaterThan(1e-4);
      expect(distance).toBeLessThan(dtype === "int8" ? 0.05 : 0.6);
    }
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
});
