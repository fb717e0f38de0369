import wabt from "wabt";
import type { Entrant } from "./entrant.ts";

/** More than the caches of any machine that this is likely to run on. */
const MIB = 512;

/** Bytes that one run reads. */
export const STREAM_BYTES = MIB * 2 ** 20;

/** The rate at which wasm can read memory in address order: vector loads, added up in eight chains. */
export async function makeStream(): Promise<Entrant> {
  const toolkit = await wabt();
  const wasm = new Uint8Array(
    toolkit.parseWat("stream.wat", wat(), { simd: true, bulk_memory: true }).toBinary({}).buffer,
  );
  const { instance } = await WebAssembly.instantiate(wasm);
  // Pages that were never written may all be the same page of zeros.
  (instance.exports["fill"] as () => void)();
  const read = instance.exports["read"] as (end: number) => number;
  return { name: "streaming read", form: "", kind: "limit", run: () => read(STREAM_BYTES) };
}

/** fill writes every page, read adds up the first `end` bytes. */
function wat(): string {
  const chains = Array.from({ length: 8 }, (_, n) => n);
  const add = (n: number): string =>
    `(local.set $acc${n} (i32x4.add (local.get $acc${n}) (v128.load offset=${16 * n} (local.get $at))))`;
  return `(module
    (memory ${(STREAM_BYTES / 65536).toFixed(0)})
    (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const ${STREAM_BYTES})))
    (func (export "read") (param $end i32) (result i32)
      (local $at i32) ${chains.map((n) => `(local $acc${n} v128)`).join(" ")}
      (loop $again
        ${chains.map(add).join("\n        ")}
        (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 128))) (local.get $end))))
      (v128.any_true
        ${chains.slice(1).reduce((sum, n) => `(v128.or ${sum} (local.get $acc${n}))`, "(local.get $acc0)")})))`;
}
