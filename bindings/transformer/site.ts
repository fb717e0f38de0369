import type { TransformerKernels } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Floats } from "../memory/data.ts";
import type { Output } from "../memory/output.ts";

/** What a call works with. */
export interface Site {
  readonly instance: Instance;
  readonly kernels: TransformerKernels;
}

/** Whether an output is to be written where an input of its length stands in linear memory. */
export function isSame(input: Floats | undefined, output: Output): boolean {
  return input?.ptr !== undefined && input.ptr === output.place?.ptr;
}
