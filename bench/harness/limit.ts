import wabt from "wabt";
import type { Entrant } from "./entrant.ts";

/**
 * Twelve independent chains hide the latency of a fused multiply-add. With the two factors they fit V8's 15 vector
 * registers on x64.
 */
const CHAINS = 12;
const ROUNDS = 500_000;

/** Floating-point operations of one run: a multiplication and an addition in each of four lanes. */
export const LIMIT_FLOPS = ROUNDS * CHAINS * 4 * 2;

/**
 * The most that 128-bit SIMD can do here: multiply-adds on registers alone, nothing loaded. With relaxed SIMD that is
 * relaxed_madd, which V8 turns into one fused instruction; without, a multiplication and an addition.
 */
export async function makeLimit(): Promise<Entrant> {
  const { parseWat } = await wabt();
  const features = { simd: true, relaxed_simd: true };
  const assemble = (step: (acc: string) => string): Uint8Array<ArrayBuffer> => {
    return new Uint8Array(parseWat("limit.wat", wat(step), features).toBinary({}).buffer);
  };
  const fused = assemble((acc) => `(f32x4.relaxed_madd (local.get $x) (local.get $y) (local.get ${acc}))`);
  // acc = acc·x + y, since x·y would be computed once for all chains. Its longer latency costs about a sixth on Zen 4.
  const plain = assemble((acc) => `(f32x4.add (f32x4.mul (local.get ${acc}) (local.get $x)) (local.get $y))`);
  const relaxed = WebAssembly.validate(fused);
  const { instance } = await WebAssembly.instantiate(relaxed ? fused : plain);
  const spin = instance.exports["spin"] as (rounds: number, x: number, y: number) => number;
  return {
    name: "limit",
    form: relaxed ? "relaxed_madd" : "mul + add",
    kind: "limit",
    run: () => spin(ROUNDS, 0.5, 0.5),
  };
}

/** (spin rounds x y): each round advances every chain once; the sum keeps them all alive. */
function wat(step: (acc: string) => string): string {
  const chains = Array.from({ length: CHAINS }, (_, n) => `$acc${n}`);
  return `(module
    (func (export "spin") (param $rounds i32) (param $fx f32) (param $fy f32) (result f32)
      (local $x v128) (local $y v128)
      ${chains.map((acc) => `(local ${acc} v128)`).join("\n      ")}
      (local.set $x (f32x4.splat (local.get $fx)))
      (local.set $y (f32x4.splat (local.get $fy)))
      (loop $again
        ${chains.map((acc) => `(local.set ${acc} ${step(acc)})`).join("\n        ")}
        (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
      (f32x4.extract_lane 0
        ${chains.reduce((sum, acc) => (sum ? `(f32x4.add ${sum} (local.get ${acc}))` : `(local.get ${acc})`), "")})))`;
}
