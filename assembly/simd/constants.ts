// The table of constants that kernels read: one f32 each, splatted as it is loaded.
//
// V8 rebuilds a v128 literal at every use (three instructions, never hoisted out of a loop): with ten literals an exp
// took 4.2 cycles a score, with the constants read from memory into locals before the loop it takes 1.7.

// @ts-ignore: decorator
@inline export const FLOOR: usize = 0;
// @ts-ignore: decorator
@inline export const ROUND: usize = 4;
// @ts-ignore: decorator
@inline export const ONE: usize = 8;
// @ts-ignore: decorator
@inline export const EXP2: usize = 12; // c1 … c6
// @ts-ignore: decorator
@inline export const TANH: usize = 36; // c1 … c5
/** kv/float16.ts: the bits that stay of a widened binary16. */
// @ts-ignore: decorator
@inline export const F16_MASK: usize = 56;
/** kv/float16.ts: pairs of factors that widen the values at even places, and at odd places. */
// @ts-ignore: decorator
@inline export const F16_EVEN: usize = 60;
// @ts-ignore: decorator
@inline export const F16_ODD: usize = 64;

/** 0: a v128 literal takes 18 bytes of code. */
// @ts-ignore: decorator
@inline export const ZERO: usize = 68;

/** 1.5·2²³: adding it rounds to an integer, and leaves that integer in the low 16 bits. */
// @ts-ignore: decorator
@inline export const INTEGER: usize = 72;

/** Where the constants of activations begin, which activations.ts writes. */
// @ts-ignore: decorator
@inline export const ACTIVATIONS: usize = 88;

/** Sign, and exponent and fraction of a binary16 at their places in f32. */
// @ts-ignore: decorator
@inline export const WIDENED_BITS: i32 = 0x8fffe000;

/** 2ᶠ in three terms. */
// @ts-ignore: decorator
@inline export const SHORT: usize = 76; // c1 … c3

/** Bytes of the table of constants: with those of activations. */
// @ts-ignore: decorator
@inline export const CONSTANT_BYTES: i32 = 140;

/** Writes the table of constants: once for each memory, before any kernel runs. */
export function writeConstants(table: usize): void {
  f32.store(table, -127, FLOOR);
  // 1.5·2²³ + 127: adding it rounds to an integer and leaves that integer, biased as an exponent, in the low bits.
  f32.store(table, 12582912 + 127, ROUND);
  f32.store(table, 1, ONE);
  // 2ᶠ = 1 + f·(c1 + f·(c2 + …)) on |f| ≤ ½, minimax with c0 = 1 so that 2⁰ is exactly 1; relative error 2.6e-9.
  f32.store(table, 0.6931472420692444, EXP2);
  f32.store(table, 0.24022652208805084, EXP2 + 4);
  f32.store(table, 0.055503103882074356, EXP2 + 8);
  f32.store(table, 0.009617692790925503, EXP2 + 12);
  f32.store(table, 0.0013406643411144614, EXP2 + 16);
  f32.store(table, 0.00015594677824992687, EXP2 + 20);
  // tanh x = x + x³·(c1 + x²·(c2 + …)) on |x| < 0.625 (S. Moshier, Cephes tanhf).
  f32.store(table, -3.33332819422e-1, TANH);
  f32.store(table, 1.33314422036e-1, TANH + 4);
  f32.store(table, -5.37397155531e-2, TANH + 8);
  f32.store(table, 2.06390887954e-2, TANH + 12);
  f32.store(table, -5.70498872745e-3, TANH + 16);
  i32.store(table, WIDENED_BITS, F16_MASK);
  i32.store(table, 0x00002000, F16_EVEN); // 2¹³ and 0
  i32.store(table, 0x20000000, F16_ODD); // 0 and 2¹³
  i32.store(table, 0, ZERO);
  f32.store(table, 12582912, INTEGER);
  // 2ᶠ = 1 + f·(c1 + …) as above.
  f32.store(table, 0.693282961845398, SHORT);
  f32.store(table, 0.24221131205558777, SHORT + 4);
  f32.store(table, 0.05500902235507965, SHORT + 8);
}
