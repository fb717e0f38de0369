// A build that traps on any address outside the blocks of its call.
//
// test/support/instrument.ts announces every access of the kernels. It is in order where it lies in a block that the
// call under test has allocated itself, or in one that the arguments of the kernel point to: tables of pages and of
// parts, and the fields of AttendArgs and ScoreRow included. So another Tensor is foreign, though its block is in use.
import { instantiateSync } from "@assemblyscript/loader";
import { INSTANCE } from "../../bindings/engine/module.ts";
import type { Heed } from "../../bindings/heed.ts";
import { type Build, heedOf, modulesOf } from "./builds.ts";
import { type Access, instrument } from "./instrument.ts";
import { pointersOf } from "./kernel-pointers.ts";
import { READABLE_BEHIND } from "./poison.ts";

interface Block {
  readonly start: number;
  readonly end: number;
  /** How many blocks were allocated before it. */
  readonly number: number;
}

export interface CheckedHeed {
  heed: Heed;
  /** Runs a call: of the blocks that are there before, kernels may touch those alone that they are handed. */
  call: <T>(act: () => T) => T;
  /** How many accesses have been checked. */
  checked: () => number;
}

/** Those of modulesOf. */
type Modules = readonly WebAssembly.Module[];

const modules: Partial<Record<Build, Promise<Modules>>> = {};

type Kernel = (...args: number[]) => unknown;

/** How a checked instance is made. */
interface Setup {
  /** The memory it works on; by default one of its own. */
  memory?: WebAssembly.Memory;
  /** Is handed the instance before its blocks are watched. */
  prepare?: (heed: Heed) => void;
}

/** Makes instances of a checked build. */
export async function checkedBuild(name: Build): Promise<(setup?: Setup) => CheckedHeed> {
  const instrumented = async (bytes: Uint8Array) => new WebAssembly.Module(await instrument(bytes));
  const compiled = await (modules[name] ??= Promise.all(modulesOf(name).map(instrumented)));
  return (setup = {}) => open(compiled, setup);
}

function open(compiled: Modules, setup: Setup): CheckedHeed {
  const blocks = new Map<number, Block>();
  let count = 0;
  let firstOfCall = 0;
  let checked = 0;
  let readable: Block[] = [];
  let writable: Block[] = [];
  let kernel = "";
  // Until the arena is there, which the constructor of the instance makes.
  let isTracked = false;

  const access: Access = (ptr, offset, bytes, isWrite) => {
    checked++;
    if (!isTracked || bytes === 0) return ptr;
    const address = (ptr >>> 0) + (offset >>> 0);
    const end = address + bytes - (isWrite ? 0 : READABLE_BEHIND);
    const allowed = isWrite ? writable : readable;
    for (let n = 0; n < allowed.length; n++) {
      const block = allowed[n]!;
      if (address < block.start || end > block.end) continue;
      // The next access is likely to be near.
      allowed[n] = allowed[0]!;
      allowed[0] = block;
      return ptr;
    }
    throw new Error(`${kernel}: ${isWrite ? "write" : "read"} of ${bytes} bytes at ${address}, outside its blocks`);
  };

  const { memory = new WebAssembly.Memory({ initial: 1, maximum: 2 ** 14 }), prepare } = setup;
  const watched =
    (name: string, run: Kernel): Kernel =>
    (...args) => {
      const { reads, writes } = pointersOf(name, args, memory.buffer);
      const holds = (pointers: number[]) => (block: Block) =>
        block.number >= firstOfCall || pointers.some((ptr) => block.start <= ptr >>> 0 && ptr >>> 0 <= block.end);
      writable = [...blocks.values()].filter(holds(writes));
      readable = [...blocks.values()].filter(holds([...reads, ...writes]));
      kernel = name;
      return run(...args);
    };
  const exports = compiled.map((module) => {
    const { exports } = instantiateSync(module, { env: { memory }, checked: { access } });
    const found = Object.entries(exports as unknown as Record<string, Kernel>);
    return Object.fromEntries(
      found.filter(([, run]) => typeof run === "function").map(([name, run]) => [name, watched(name, run)]),
    );
  });

  const heed = heedOf(exports, memory);
  prepare?.(heed);
  const { arena, constants } = heed[INSTANCE];
  const add = (start: number, bytes: number) => blocks.set(start, { start, end: start + bytes, number: count++ });
  add(constants, heed[INSTANCE].kernels.constantBytes());
  const [allocate, release] = [arena.allocate.bind(arena), arena.release.bind(arena)];
  arena.allocate = (bytes) => {
    const ptr = allocate(bytes);
    add(ptr, bytes);
    return ptr;
  };
  arena.release = (ptr) => {
    release(ptr);
    blocks.delete(ptr);
  };
  isTracked = true;

  return {
    heed,
    call: (act) => {
      firstOfCall = count;
      try {
        return act();
      } finally {
        firstOfCall = 0;
      }
    },
    checked: () => checked,
  };
}
