// What loadTransformer takes: tensors of any float type, in any order, by their names; and what it refuses.
import { describe, expect, it } from "vitest";
import type { ModelTensor } from "../../bindings/transformer/model/tensors.ts";
import { forEachBuild } from "../support/builds.ts";
import { distanceOf, loaderOf, smallModel } from "../support/transformer-models.ts";

const A = [3, 17, 0, 36, 5, 5, 11, 2, 30];
const B = [8];

forEachBuild((_, open) => {
  const heed = open();
  const load = loaderOf(heed);

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
    expect(distanceOf(model.encode([A]).hidden, encode(A))).toBeLessThan(4e-6);
    expect(model.labels).toBe(0);
    expect(() => model.classify([A])).toThrow('"classify" expected a model whose tensors have a head');
    expect(() => model.start()).toThrow('"start" expected a model with a head that goes back to the words, got "bert"');
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
      [{ config: { ...config, hidden_size: 24.5 } }, RangeError, '"config.hidden_size" expected'],
      [{ config: { ...config, num_hidden_layers: 1e6 } }, RangeError, '"config.num_hidden_layers" expected'],
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
        const error = await load({ config, tensors, ...given }).catch((caught: unknown) => caught);
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
