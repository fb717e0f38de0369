// examples/safetensors on files that are written here.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { load } from "heed";
import { afterAll, describe, expect, it } from "vitest";
import { findLayers, openLayer, readTensors } from "../../examples/safetensors/layers.ts";
import { expectClose } from "../support/budget.ts";
import { floatsOf, halvesOf } from "../support/halves.ts";
import { type Dims, type Projections, layerFloor, layerReference, projectionsOf } from "../support/layer.ts";
import { floats, uniform } from "../support/random.ts";

const dims: Dims = {
  embedDim: 24,
  numHeads: 4,
  numKvHeads: 4,
  headDim: 6,
  valueDim: 6,
  kvDim: { k: 24, v: 24 },
  outDim: 24,
};
const folder = mkdtempSync(join(tmpdir(), "heed-"));
afterAll(() => rmSync(folder, { recursive: true }));

/**
 * A safetensors file: the length of a JSON header, the header, the floats (https://huggingface.co/docs/safetensors).
 */
function fileOf(
  tensors: Record<string, { data: ArrayLike<number>; shape: readonly number[] }>,
): Uint8Array<ArrayBuffer> {
  let end = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const [name, { data, shape }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, (end += data.length * 4)] };
  }
  const json = JSON.stringify(header);
  const text = new TextEncoder().encode(json.padEnd(Math.ceil(json.length / 8) * 8));
  const bytes = new Uint8Array(8 + text.length + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  const all = Object.values(tensors).flatMap(({ data }) => Array.from(data));
  new Float32Array(bytes.buffer, 8 + text.length).set(all);
  return bytes;
}

/** Two layers of a BERT, and what else such a file has. */
const bert = [projectionsOf(dims, uniform(1)), projectionsOf(dims, uniform(2))];
const bertFile = fileOf({
  "embeddings.word_embeddings.weight": { data: new Float32Array(48), shape: [2, 24] },
  ...named(bert[0]!, "encoder.layer.0.attention."),
  ...named(bert[1]!, "encoder.layer.1.attention."),
});

function named({ q, k, v, out }: Projections, prefix: string): Record<string, { data: Float32Array; shape: number[] }> {
  return Object.fromEntries(
    Object.entries({ "self.query": q, "self.key": k, "self.value": v, "output.dense": out! }).flatMap(
      ([name, { weight, bias }]) => [
        [`${prefix}${name}.weight`, weight],
        [`${prefix}${name}.bias`, { data: bias!, shape: [24] }],
      ],
    ),
  );
}

const torch = projectionsOf(dims, uniform(3));
const torchFile = fileOf({
  "self_attn.in_proj_weight": {
    data: [...torch.q.weight.data, ...torch.k.weight.data, ...torch.v.weight.data],
    shape: [72, 24],
  },
  "self_attn.in_proj_bias": { data: [...torch.q.bias!, ...torch.k.bias!, ...torch.v.bias!], shape: [72] },
  "self_attn.out_proj.weight": torch.out!.weight,
  "self_attn.out_proj.bias": { data: torch.out!.bias!, shape: [24] },
});

it("finds the layers by their names", () => {
  expect(findLayers(readTensors(bertFile).keys())).toEqual([
    { prefix: "encoder.layer.0.attention.", kind: "Hugging Face" },
    { prefix: "encoder.layer.1.attention.", kind: "Hugging Face" },
  ]);
  expect(findLayers(readTensors(torchFile).keys())).toEqual([{ prefix: "self_attn.", kind: "torch" }]);
  const fused = ["a.qkv_proj", "b.Wqkv", "c.qkv", "d.W_pack", "e.query_key_value", "f.wqkv", "g.to_qkv", "h.proj"];
  expect(
    findLayers(fused.map((name) => `${name}.weight`))
      .map(({ prefix }) => prefix)
      .join(""),
  ).toBe("a.b.c.d.e.f.");
});

describe("opens them", () => {
  it.each([
    ["the second of a BERT", bertFile, 1, bert[1]!],
    ["torch's", torchFile, 0, torch],
  ] as const)("%s", async (_, file, n, projections) => {
    const heed = await load();
    const tensors = readTensors(file);
    const layer = openLayer(heed, tensors, findLayers(tensors.keys())[n]!, 4);
    const x = floats(11 * 24, uniform(4));
    const plain = { batch: 1, attention: {} };
    const exact = layerReference(x, projections, dims, plain);
    const naive = layerReference(x, projections, dims, plain, Math.fround);
    expectClose(layer.forward(x, { lse: true }), exact, naive, layerFloor(x, projections, dims, plain, exact));
    heed.dispose();
  });
});

it.each(["F16", "BF16"] as const)("a layer of %s, at an odd place, has the bits of its floats", async (dtype) => {
  const heed = await load();
  const plain = new Map(Object.entries(named(bert[0]!, "attention.")));
  const header: Record<string, unknown> = { odd: { dtype: "U8", shape: [1], data_offsets: [0, 1] } };
  const parts: Uint8Array[] = [Uint8Array.of(1)];
  let end = 1;
  for (const [name, { data, shape }] of plain) {
    const half = halvesOf(data, dtype === "F16" ? "f16" : "bf16");
    header[name] = { dtype, shape, data_offsets: [end, (end += 2 * data.length)] };
    parts.push(new Uint8Array(half.data.buffer));
    plain.set(name, { data: floatsOf(half), shape });
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const tensors = readTensors(Buffer.concat([length, text, ...parts]));
  const found = { prefix: "attention.", kind: "Hugging Face" } as const;
  const [layer, expected] = [openLayer(heed, tensors, found, 4), openLayer(heed, plain, found, 4)];
  const x = floats(11 * 24, uniform(4));
  expect(layer.forward(x).out).toEqual(expected.forward(x).out);
  heed.dispose();
});

describe("the command", () => {
  const run = (...args: string[]) => {
    const main = fileURLToPath(new URL("../../build/safetensors.js", import.meta.url));
    return spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  };
  const file = join(folder, "model.safetensors");
  writeFileSync(file, bertFile);

  it("runs every layer of a file", () => {
    const { stdout, stderr, status } = run("--file", file, "--heads", "4", "--tokens", "7");
    expect([stderr, status]).toEqual(["", 0]);
    expect(stdout.trim().split("\n")).toHaveLength(2);
    expect(stdout).toMatch(
      /encoder\.layer\.1\.attention\. {2}Hugging Face {2}24 → 4\/4 heads of 6 → 24 {2}7 tokens in /,
    );
  });

  it.each([
    [[], "--file is missing"],
    [["--file", file], "--heads expected"],
    [["--file", file, "--heads", "5"], "expected a multiple of 5"],
    [["--file", join(folder, "none"), "--heads", "4"], "no such file"],
  ])("says what is wrong: %j", (args, message) => {
    const { stderr, status } = run(...args);
    expect(status).toBe(1);
    expect(stderr).toContain(message);
  });
});
