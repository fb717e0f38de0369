// What stands below the engine and must agree with it.
import { expect, it } from "vitest";
import { BF16, F32, HALF } from "../../bindings/engine/abi.ts";
import { FLOAT_TYPES } from "../../bindings/memory/float-types.ts";

it("the numbers of the types of floats are those of the kernels", () => {
  expect(FLOAT_TYPES).toEqual({ f32: F32, f16: HALF, bf16: BF16 });
});
