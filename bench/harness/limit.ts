import type { Entrant } from "./entrant.ts";
import { startTeam } from "./team.ts";
import { assemble } from "./wat.ts";

/** How a product comes into a sum: in one fused instruction of relaxed SIMD, or in two. */
export type Step = "relaxed_madd" | "mul + add";

/**
 * Independent chains hide the latency of each instruction. With their factors they fit V8's 15 vector registers on x64:
 * twelve sums, or seven sums and seven products.
 */
const CHAINS = { relaxed_madd: 12, "mul + add": 7 } as const;
/** Multiply-adds of a run, a multiple of both. */
const MADDS = 12 * 7 * 72_000;

/** Floating-point operations of one run on one thread: a multiplication and an addition in each of four lanes. */
export const LIMIT_FLOPS = MADDS * 4 * 2;

/** An entrant that has workers. */
export type Spinner = Entrant & { dispose(): void };

/**
 * The most that 128-bit SIMD can do here: multiply-adds on registers alone, nothing loaded. Without a `step` it is
 * relaxed_madd, which V8 turns into one fused instruction, where the engine has relaxed SIMD. Several threads spin at
 * once, each as much as one does alone: so `threads` runs have `threads` times LIMIT_FLOPS.
 */
export async function makeLimit({ threads = 1, step }: { threads?: number; step?: Step } = {}): Promise<Spinner> {
  const form = step ?? (await bestStep());
  const team = await startTeam(await assemble("limit", wat(form)), "spin", [MADDS / CHAINS[form], 1, 0.5], threads);
  return {
    name: threads === 1 ? "limit" : `limit, ${threads} threads`,
    form,
    kind: "limit",
    run: () => team.run(),
    dispose: () => team.end(),
  };
}

/** The faster one of those that the engine runs. */
export async function bestStep(): Promise<Step> {
  return WebAssembly.validate(await assemble("limit", wat("relaxed_madd"))) ? "relaxed_madd" : "mul + add";
}

/**
 * (spin rounds one half): each round advances every chain once; the sum keeps them all alive.
 *
 *     relaxed_madd   acc = half·one + acc
 *     mul + add      z = z·one, acc = acc + z: a product of each chain's own, since half·one would be computed once for
 *                    all; and a chain for each of the two instructions, so that their latencies do not add up
 */
function wat(step: Step): string {
  const chains = Array.from({ length: CHAINS[step] }, (_, n) => n);
  const advance = (n: number): string =>
    step === "relaxed_madd"
      ? `(local.set $acc${n} (f32x4.relaxed_madd (local.get $half) (local.get $one) (local.get $acc${n})))`
      : `(local.set $acc${n} (f32x4.add (local.get $acc${n})
          (local.tee $z${n} (f32x4.mul (local.get $z${n}) (local.get $one)))))`;
  return `(module
    (func (export "spin") (param $rounds i32) (param $f f32) (param $h f32) (result f32)
      (local $one v128) (local $half v128)
      ${chains.map((n) => `(local $acc${n} v128) (local $z${n} v128)`).join("\n      ")}
      (local.set $one (f32x4.splat (local.get $f)))
      (local.set $half (f32x4.splat (local.get $h)))
      ${chains.map((n) => `(local.set $z${n} (f32x4.splat (f32.add (local.get $h) (f32.const ${n}))))`).join("\n      ")}
      (loop $again
        ${chains.map(advance).join("\n        ")}
        (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
      (f32x4.extract_lane 0
        ${chains.slice(1).reduce((sum, n) => `(f32x4.add ${sum} (local.get $acc${n}))`, "(local.get $acc0)")})))`;
}
