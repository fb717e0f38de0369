// writeStruct goes by the order of the values, so whoever makes some keeps to that of the struct.
import { expect, it } from "vitest";
import { type CallPointers, attendArgsOf } from "../../bindings/attention/call.ts";
import { fromQuery } from "../../bindings/attention/on-threads.ts";
import type { Problem } from "../../bindings/attention/problem.ts";
import type { Sequence } from "../../bindings/attention/sequences.ts";
import { ATTEND_ARGS } from "../../bindings/engine/abi.ts";
import type { Instance } from "../../bindings/engine/instance.ts";

it("the arguments of attend have the order of AttendArgs", () => {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- nothing is read of it
  const args = attendArgsOf({} as Instance, {} as Problem, {} as CallPointers, {} as Sequence, 0);
  expect(Object.keys(args)).toEqual(ATTEND_ARGS.fields);
  expect(Object.keys(fromQuery(args, 1, 1))).toEqual(ATTEND_ARGS.fields);
});
