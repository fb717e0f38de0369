import type { Spinner } from "./limit.ts";
import { startTeam } from "./team.ts";
import { assemble } from "./wat.ts";

/** More than the caches of any machine that this is likely to run on. */
const MIB = 512;

/** Bytes that one run reads, on all threads together. */
export const STREAM_BYTES = MIB * 2 ** 20;

/**
 * The rate at which wasm can read memory in address order: vector loads, added up in eight chains. Of several threads
 * each reads its part, at the same time.
 */
export async function makeStream(threads = 1): Promise<Spinner> {
  const bytes = Math.floor(STREAM_BYTES / threads / 128) * 128;
  const team = await startTeam(await assemble("stream", wat(bytes)), "read", [bytes], threads);
  return {
    name: threads === 1 ? "streaming read" : `streaming read, ${threads} threads`,
    form: "",
    kind: "limit",
    run: () => team.run(),
    dispose: () => team.end(),
  };
}

/** prepare writes every page, since pages that were never written may all be the same page of zeros; read adds up. */
function wat(bytes: number): string {
  const chains = Array.from({ length: 8 }, (_, n) => n);
  const add = (n: number): string =>
    `(local.set $acc${n} (i32x4.add (local.get $acc${n}) (v128.load offset=${16 * n} (local.get $at))))`;
  return `(module
    (memory ${Math.ceil(bytes / 65536)})
    (func (export "prepare") (param $end i32) (memory.fill (i32.const 0) (i32.const 1) (local.get $end)))
    (func (export "read") (param $end i32) (result i32)
      (local $at i32) ${chains.map((n) => `(local $acc${n} v128)`).join(" ")}
      (loop $again
        ${chains.map(add).join("\n        ")}
        (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 128))) (local.get $end))))
      (v128.any_true
        ${chains.slice(1).reduce((sum, n) => `(v128.or ${sum} (local.get $acc${n}))`, "(local.get $acc0)")})))`;
}
