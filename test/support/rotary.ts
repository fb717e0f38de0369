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
  const { rotaryDim = headDim, interleaved, cos, sin, frequencies, attentionScale = 1 } = options;
  const { sections = [rotaryDim / 2], sectionsInterleaved = false } = options;
  const seqLen = x.length / (batch * numHeads * headDim);
  const half = rotaryDim / 2;
  const axisOf = axesOfPairs(sections, sectionsInterleaved);
  const rowsOfAxis = typeof positions === "number" ? 0 : positions.length / sections.length;
  const out = Float64Array.from(x);
  for (let row = 0; row < batch * seqLen * numHeads; row++) {
    const b = Math.floor(row / (seqLen * numHeads));
    const i = layout === "blhd" ? Math.floor(row / numHeads) % seqLen : row % seqLen;
    for (let j = 0; j < half; j++) {
      const one =
        typeof positions === "number"
          ? positions + i
          : positions[axisOf[j]! * rowsOfAxis + ((b * seqLen + i) % rowsOfAxis)]!;
      const angle = one * (frequencies ? frequencies[j]! : base ** ((-2 * j) / rotaryDim));
      const c = round(attentionScale * (cos ? cos[one * half + j]! : Math.cos(angle)));
      const s = round(attentionScale * (sin ? sin[one * half + j]! : Math.sin(angle)));
      const at = row * headDim + (interleaved ? 2 * j : j);
      const to = at + (interleaved ? 1 : half);
      const [first, second] = [x[at]!, x[to]!];
      out[at] = round(round(first * c) - round(second * s));
      out[to] = round(round(second * c) + round(first * s));
    }
  }
  return out;
}

/**
 * The axis of each pair, as Qwen2-VL (`apply_multimodal_rotary_pos_emb`) and, interleaved, Qwen3-VL
 * (`apply_interleaved_mrope`) assign them.
 */
export function axesOfPairs(sections: readonly number[], interleaved: boolean): number[] {
  if (!interleaved) return sections.flatMap((pairs, axis) => Array<number>(pairs).fill(axis));
  const axes = Array<number>(sections.reduce((sum, pairs) => sum + pairs, 0)).fill(0);
  for (let axis = 1; axis < sections.length; axis++) {
    const end = sections[axis]! * sections.length;
    for (let pair = axis; pair < end; pair += sections.length) axes[pair] = axis;
  }
  return axes;
}

/** Tables of the angles of base 10000. */
export function tablesOf(rows: number, half: number): { cos: Float32Array; sin: Float32Array } {
  const angleOf = (at: number) => Math.floor(at / half) * 10000 ** (-(at % half) / half);
  return {
    cos: Float32Array.from({ length: rows * half }, (_, at) => Math.cos(angleOf(at))),
    sin: Float32Array.from({ length: rows * half }, (_, at) => Math.sin(angleOf(at))),
  };
}
