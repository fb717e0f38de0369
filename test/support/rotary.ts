import type { RotaryOptions } from "../../bindings/rotary/options.ts";
import { type Round, exactly } from "./rounding.ts";

/** Options, with every array plain. */
export type PlainRotaryOptions = Omit<RotaryOptions, "cos" | "sin" | "out"> & {
  cos?: Float32Array;
  sin?: Float32Array;
};

/**
 * Rotary embedding pair by pair. `round` is applied to the result of every operation but the angle: `exactly` makes it
 * the oracle in f64, Math.fround the plain f32 implementation over exact tables.
 */
export function rotaryReference(x: Float32Array, options: PlainRotaryOptions, round: Round = exactly): Float64Array {
  const { numHeads, headDim, batch = 1, layout = "blhd", positions = 0, base = 10000 } = options;
  const { rotaryDim = headDim, interleaved, cos, sin } = options;
  const seqLen = x.length / (batch * numHeads * headDim);
  const half = rotaryDim / 2;
  const out = Float64Array.from(x);
  for (let row = 0; row < batch * seqLen * numHeads; row++) {
    const b = Math.floor(row / (seqLen * numHeads));
    const i = layout === "blhd" ? Math.floor(row / numHeads) % seqLen : row % seqLen;
    const one = typeof positions === "number" ? positions + i : positions[(b * seqLen + i) % positions.length]!;
    for (let j = 0; j < half; j++) {
      const angle = one * base ** ((-2 * j) / rotaryDim);
      const c = cos ? cos[one * half + j]! : round(Math.cos(angle));
      const s = sin ? sin[one * half + j]! : round(Math.sin(angle));
      const at = row * headDim + (interleaved ? 2 * j : j);
      const to = at + (interleaved ? 1 : half);
      const [a, b] = [x[at]!, x[to]!];
      out[at] = round(round(a * c) - round(b * s));
      out[to] = round(round(b * c) + round(a * s));
    }
  }
  return out;
}

/** Tables of the angles of base 10000. */
export function tablesOf(rows: number, half: number): { cos: Float32Array; sin: Float32Array } {
  const angleOf = (at: number) => Math.floor(at / half) * 10000 ** (-(at % half) / half);
  return {
    cos: Float32Array.from({ length: rows * half }, (_, at) => Math.cos(angleOf(at))),
    sin: Float32Array.from({ length: rows * half }, (_, at) => Math.sin(angleOf(at))),
  };
}
