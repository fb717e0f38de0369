// Inputs that are views of the instance's own memory, such as tensor.data. Growth of the memory detaches them: inside an
// operator, which may call kernels more than once, and before an output is made.
import { afterEach, describe, expect, it, vi } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Call, type Outputs, calls } from "../support/onnx-calls.ts";
import { floats, uniform } from "../support/random.ts";

type Input = { data: Float32Array | Int32Array; shape: number[] };

/** The call with other floats than 0 in every input. */
function filled([name, operator, inputs, attributes]: Call): Call {
  const next = uniform(12);
  const entries = Object.entries(inputs as Record<string, Input>).map(([name, { data, shape }]) => [
    name,
    { data: data instanceof Float32Array ? floats(data.length, next) : data, shape },
  ]);
  return [name, operator, Object.fromEntries(entries) as object, attributes];
}

/** Reads every output. */
const all = (outputs: Outputs): object => ({ ...outputs });

forEachBuild((_, open) => {
  const heed = open();
  const tensors: Tensor[] = [];
  afterEach(() => {
    vi.restoreAllMocks();
    for (const tensor of tensors.splice(0)) tensor.dispose();
  });

  /** A view of the same elements in the memory of the instance. */
  function inMemory(data: Input["data"]): Input["data"] {
    const tensor = heed.tensor(data.length);
    tensors.push(tensor);
    const Kind = data.constructor as Float32ArrayConstructor;
    const view = new Kind(tensor.data.buffer, tensor.data.byteOffset, data.length);
    view.set(data);
    return view;
  }

  /** The inputs with all of their data in the memory of the instance. */
  function moved(inputs: object): object {
    const entries = Object.entries(inputs as Record<string, Input>);
    // The first round may grow the memory, the second does not.
    for (const { data } of Object.values(inputs as Record<string, Input>)) inMemory(data);
    for (const tensor of tensors.splice(0)) tensor.dispose();
    return Object.fromEntries(entries.map(([name, { data, shape }]) => [name, { data: inMemory(data), shape }]));
  }

  /** Lets the memory grow, which detaches every view of it, whenever some of it is reserved. */
  function growAlways(): void {
    const { arena } = heed[INSTANCE];
    const allocate = arena.allocate.bind(arena);
    vi.spyOn(arena, "allocate").mockImplementation((bytes) => {
      arena.memory.grow(1);
      return allocate(bytes);
    });
  }

  describe.each(calls(2, 3, 5, 4).map(filled))("%s", (_, operator, inputs, attributes) => {
    it("gives the same outputs while the memory grows", () => {
      const expected = all(operator(heed, inputs as never, attributes as never));
      const given = moved(inputs);
      growAlways();
      const outputs = operator(heed, given as never, attributes as never);
      expect(all(outputs)).toEqual(expected);
      // Outputs stay what they are.
      heed.tensor(1).dispose();
      expect(all(outputs)).toEqual(expected);
    });

    it("makes outputs of inputs that are gone", () => {
      const expected = all(operator(heed, inputs as never, attributes as never));
      const outputs = operator(heed, moved(inputs) as never, attributes as never);
      for (const tensor of tensors.splice(0)) {
        tensor.data.fill(NaN);
        tensor.dispose();
      }
      expect(all(outputs)).toEqual(expected);
    });
  });

  it("names the input whose memory was detached before the call", () => {
    const [, operator, inputs, attributes] = filled(calls(2, 3, 5, 4)[0]!);
    const given = moved(inputs);
    growAlways();
    heed.tensor(1).dispose();
    expect(() => operator(heed, given as never, attributes as never)).toThrow(/^"Q.data" expected .*transferred/);
  });
});
