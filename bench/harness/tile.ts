// Register tiles on their own: the loop of assembly/simd/gemm.ts instruction by instruction, as asc compiles it, with
// nothing before it and nothing after. A and B stay in L1.

/** How a product comes into a sum: as floats, or as pairs of 16-bit integers. */
export const STEPS = ["relaxed_madd", "mul + add", "dot_i16x8_s + add"] as const;
export type TileStep = (typeof STEPS)[number];

export interface Tile {
  /** Rows of A. */
  rows: number;
  /** Vectors of each row of B. */
  vectors: number;
  step: TileStep;
}

/** Steps of the sum of one tile: headDim of the shape that is compared with it. */
const COUNT = 128;
/** A row of B, as those of a query tile. */
const LANE_BYTES = 64;
const B_AT = COUNT * LANE_BYTES;
/** Multiply-adds of a run, about: a millisecond, as the limit. */
const MADDS = 2.5e7;

/** How often a run goes through the tile. */
function repeatsOf({ rows, vectors }: Tile): number {
  return Math.round(MADDS / (rows * vectors * COUNT * 4));
}

/** Operations of a run: a multiplication and an addition in each of four lanes, or of each of eight for integers. */
export function tileFlops(tile: Tile): number {
  const lanes = tile.step === "dot_i16x8_s + add" ? 8 : 4;
  return repeatsOf(tile) * tile.rows * tile.vectors * COUNT * lanes * 2;
}

/** `6×2 relaxed_madd` */
export function nameOfTile({ rows, vectors, step }: Tile): string {
  return `${rows}×${vectors} ${step}`;
}

/** (spin repeats aStep bEnd): the arguments of {@link tileWat}. */
export function tileArguments(tile: Tile): [repeats: number, aStep: number, bEnd: number] {
  return [repeatsOf(tile), 4, B_AT + COUNT * LANE_BYTES];
}

/**
 * The module of a tile. In each step it loads the vectors of B, then for each row of A spreads one float to all lanes
 * and multiplies. `prepare` writes ones into A [rows][COUNT] and B [COUNT][16]; to a dot they are 16-bit integers.
 */
export function tileWat({ rows, vectors, step }: Tile): string {
  const [is, js] = [rows, vectors].map((length) => Array.from({ length }, (_, n) => n)) as [number[], number[]];
  const sums = is.flatMap((i) => js.map((j) => `$c${i}${j}`));
  const add = (i: number, j: number): string => {
    const [sum, x, b] = [`(local.get $c${i}${j})`, "(local.get $x)", `(local.get $b${j})`];
    if (step === "relaxed_madd") return `(f32x4.relaxed_madd ${x} ${b} ${sum})`;
    if (step === "mul + add") return `(f32x4.add (f32x4.mul ${x} ${b}) ${sum})`;
    return `(i32x4.add (i32x4.dot_i16x8_s ${x} ${b}) ${sum})`;
  };
  return `(module
    (memory 1)
    (func (export "prepare") (param i32 i32 i32)
      (local $at i32)
      (loop $again
        (f32.store (local.get $at) (f32.const 1))
        (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4))) (i32.const ${2 * B_AT})))))
    (func (export "spin") (param $repeats i32) (param $aStep i32) (param $bEnd i32) (result i32)
      (local $at i32) (local $b i32) (local $x v128)
      ${is.map((i) => `(local $a${i} i32)`).join(" ")}
      ${js.map((j) => `(local $b${j} v128)`).join(" ")}
      ${sums.map((sum) => `(local ${sum} v128)`).join(" ")}
      ${is.map((i) => `(local.set $a${i} (i32.mul (local.get $aStep) (i32.const ${i * COUNT})))`).join("\n      ")}
      (loop $tile
        (local.set $at (i32.const 0))
        (local.set $b (i32.const ${B_AT}))
        (loop $step
          (if (i32.lt_u (local.get $b) (local.get $bEnd)) (then
            ${js.map((j) => `(local.set $b${j} (v128.load offset=${16 * j} (local.get $b)))`).join("\n            ")}
            ${is
              .flatMap((i) => [
                `(local.set $x (v128.load32_splat (i32.add (local.get $a${i}) (local.get $at))))`,
                ...js.map((j) => `(local.set $c${i}${j} ${add(i, j)})`),
              ])
              .join("\n            ")}
            (local.set $b (i32.add (local.get $b) (i32.const ${LANE_BYTES})))
            (local.set $at (i32.add (local.get $at) (local.get $aStep)))
            (br $step))))
        (br_if $tile (local.tee $repeats (i32.sub (local.get $repeats) (i32.const 1)))))
      (v128.any_true
        ${sums.slice(1).reduce((sum, one) => `(v128.or ${sum} (local.get ${one}))`, `(local.get ${sums[0]!})`)})))`;
}
