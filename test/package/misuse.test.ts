// What TypeScript says of misspelt options, what it knows of results, and what an editor shows of an option.
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { typeErrors, writeSnippets } from "../support/snippets.ts";

const folder = fileURLToPath(new URL("../../build/misuse", import.meta.url));

const START = `
import { type AttentionOptions, type Heed, type KvCache, type MultiHeadAttention, type Tensor, load } from "heed";
declare const heed: Heed, cache: KvCache, layer: MultiHeadAttention, x: Float32Array, tensor: Tensor;
declare const square: { weight: Float32Array };
declare function exactly<T>(): <U>(value: U, same: (<V>() => V extends T ? 1 : 2) extends <V>() => V extends U ? 1 : 2 ? true : false) => void;
const h = { numHeads: 1, headDim: 4 };
`;

const misuses: [code: string, unknown: string, meant?: string][] = [
  ["heed.attention(x, x, x, { ...h, isCausal: true });", "isCausal"],
  ["heed.attention(x, x, x, { numHeads: 1, headDim: 4, casual: true, lse: true });", "casual", "causal"],
  ["heed.attention(x, x, x, { ...h, window: { size: 1 } });", "size"],
  ["heed.attentionWeights(x, x, { ...h, topk: 3 });", "topk", "topK"],
  ["heed.attentionWeights(x, x, { ...h, out: x });", "out"],
  ["heed.merge([], { ...h, sink: x });", "sink", "sinks"],
  ["heed.rotary(x, { ...h, interleave: true });", "interleave", "interleaved"],
  ["heed.linear(x, x, undefined, { inFeature: 4 });", "inFeature", "inFeatures"],
  ["heed.linear(x, x, undefined, { activaton: 'gelu' });", "activaton", "activation"],
  ["heed.linear(x, x, undefined, { dtype: 'int8' });", "dtype"],
  ["heed.packLinear(x, undefined, { outFeature: 4 });", "outFeature", "outFeatures"],
  ["heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 8, dtyp: 'f16' });", "dtyp", "dtype"],
  ["heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 8, rotary: { rope_scaling: 1 } });", "rope_scaling"],
  ["cache.append(x, x, { length: 1 });", "length", "lengths"],
  ["cache.attention(x, { numHeads: 1, isCausal: true });", "isCausal"],
  ["cache.attention(x, { numHeads: 1, kvLengths: Int32Array.of(1) });", "kvLengths"],
  ["cache.attentionWeights(x, { numHeads: 1, redcue: 'mean' });", "redcue", "reduce"],
  ["heed.createMultiHeadAttention({ numHeads: 1, embedDim: 4, rotery: true });", "rotery", "rotary"],
  ["layer.forward(x, { contxt: x });", "contxt", "context"],
  ["layer.forward(x, { weights: { topk: 1 } });", "topk", "topK"],
  ["layer.setWeights({ q: square, k: square, v: square, o: square });", "o"],
  ["layer.createCache({ capacity: 1, windw: 1 });", "windw", "window"],
  ["load({ varient: 'simd' });", "varient", "variant"],
];

const results: [code: string, type: string][] = [
  ["heed.attention(x, x, x, h).out", "Float32Array<ArrayBuffer>"],
  ["heed.attention(x, x, x, { ...h, out: tensor }).out", "Tensor"],
  ["heed.attention(x, x, x, { ...h, out: x }).out", "Float32Array"],
  ["heed.attention(x, x, x, { ...h, lse: true }).lse", "Float32Array<ArrayBuffer>"],
  ["heed.attention(x, x, x, { ...h, lse: tensor }).lse", "Tensor"],
  ["heed.attention(x, x, x, h).lse", "Float32Array<ArrayBuffer> | undefined"],
  ["heed.attention(x, x, x, { ...h, lse: false }).lse", "Float32Array<ArrayBuffer> | undefined"],
  ["cache.attention(x, { numHeads: 1, out: tensor }).out", "Tensor"],
  ["cache.attentionWeights(x, { numHeads: 1, topK: 3 }).indices", "Int32Array"],
  ["heed.attentionWeights(x, x, { ...h, topK: 3 }).indices", "Int32Array"],
  ["heed.attentionWeights(x, x, h).indices", "Int32Array | undefined"],
  ["heed.attentionWeights(x, x, { ...h, entropy: true }).entropy", "Float32Array<ArrayBuffer>"],
  ["heed.merge([], { ...h, lse: tensor }).lse", "Tensor"],
  ["heed.rotary(x, { ...h, out: tensor }).out", "Tensor"],
  ["heed.linear(tensor, x, undefined, { out: tensor }).out", "Tensor"],
  ["heed.linear(tensor, x, undefined, { activation: 'swiglu', residual: tensor, out: tensor }).out", "Tensor"],
  ["heed.packLinear(x, undefined, { inFeatures: 4, dtype: 'q4' }).dtype", '"f32" | "int8" | "q4"'],
  ["heed.linear(tensor, x).out", "Float32Array<ArrayBuffer>"],
  ["layer.forward(x).out", "Float32Array<ArrayBuffer>"],
  ["layer.forward(x, { weights: true }).weights", "Float32Array<ArrayBuffer>"],
  ["layer.forward(x, { weights: { topK: 1, weights: tensor } }).weights", "Tensor"],
  ["layer.forward(x, { weights: { topK: 1 } }).indices", "Int32Array"],
  ["layer.forward(x, { weights: false }).weights", "Float32Array<ArrayBuffer> | Float32Array | Tensor | undefined"],
];

const legal = [
  "const options: AttentionOptions = { ...h, causal: true }; heed.attention(x, x, x, options);",
  "const given = { ...h, causal: true, lse: true } as const; const lse: Float32Array = heed.attention(x, x, x, given).lse;",
  "function use(part: { out: Float32Array; lse: Float32Array }): void {} use(heed.attention(x, x, x, { ...h, lse: true }));",
  "heed.merge([heed.attention(x, x, x, { ...h, lse: true })], h);",
  "layer.forward(x, { cache, positions: 3, weights: { reduce: 'mean' } });",
];

describe("misspelt options and exact results", () => {
  const snippets = [
    ...misuses.map(([code]) => code),
    ...results.map(([code, type]) => `exactly<${type}>()(${code}, true);`),
    ...legal,
  ].map((code, n) => ({ file: `${folder}/${n}`, code: `${START}${code}\nexport {};\n` }));
  writeSnippets(folder, snippets);
  const complaints = typeErrors(snippets, ["node"]);
  const complaintsOf = (n: number) => complaints.filter(({ file }) => file === snippets[n]!.file).map((c) => c.message);

  it.each(misuses.map((misuse, n) => [misuse[0], n, misuse] as const))("%s", (_, n, [, unknown, meant]) => {
    const [message, ...others] = complaintsOf(n);
    expect(others).toEqual([]);
    expect(message).toMatch(/^Object literal may only specify known properties, /);
    expect(message).toContain(`'${unknown}' does not exist in type`);
    if (meant !== undefined) expect(message).toContain(`Did you mean to write '${meant}'?`);
  });

  it.each(results.map((result, n) => [...result, n] as const))("%s is %s", (_, __, n) => {
    expect(complaintsOf(misuses.length + n)).toEqual([]);
  });

  it.each(legal.map((code, n) => [code, n] as const))("%s", (_, n) => {
    expect(complaintsOf(misuses.length + results.length + n)).toEqual([]);
  });
});

describe("what an editor shows", () => {
  it.each([
    ["heed.attention(x, x, x, { numHeads: 1, headDim: 4, /*here*/softcap: 30 });", "c > 0: score = c·tanh(score/c)"],
    [
      "heed.attentionWeights(x, x, { numHeads: 1, headDim: 4, /*here*/topK: 3 });",
      "only the topK largest of the weights",
    ],
    ["cache.attention(x, { numHeads: 1, /*here*/causal: true });", "Query i sees key j only if"],
    ["layer.forward(x, { /*here*/append: false });", "nothing is projected to k and v"],
    ["heed.createKvCache({ numKvHeads: 1, headDim: 4, /*here*/capacity: 8 });", "The most tokens of a sequence"],
  ])("%s", (code, shown) => {
    const file = `${folder}/hover.ts`;
    const text = START + code;
    const host: ts.LanguageServiceHost = {
      getScriptFileNames: () => [file],
      getScriptVersion: () => "1",
      getScriptSnapshot: (name) => {
        const source = name === file ? text : ts.sys.readFile(name);
        return source === undefined ? undefined : ts.ScriptSnapshot.fromString(source);
      },
      getCurrentDirectory: () => folder,
      getCompilationSettings: () => ({
        strict: true,
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        moduleResolution: ts.ModuleResolutionKind.Bundler,
        types: [],
      }),
      getDefaultLibFileName: (options) => ts.getDefaultLibFilePath(options),
      fileExists: (name) => name === file || ts.sys.fileExists(name),
      readFile: (name) => ts.sys.readFile(name),
    };
    const service = ts.createLanguageService(host);
    const info = service.getQuickInfoAtPosition(file, text.indexOf("/*here*/") + "/*here*/".length);
    expect(ts.displayPartsToString(info?.documentation)).toContain(shown);
  });
});
