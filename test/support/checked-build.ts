// A build that traps on any address outside the blocks of its call.
//
// test/support/instrument.ts announces every access of the kernels. It is in order where it lies in a block that the
// call under test has allocated itself, or in one that the arguments of the kernel point to: tables of pages and of
// parts, and the fields of AttendArgs and ScoreRow included. So another Tensor is foreign, though its block is in use.
import { instantiateSync } from "@assemblyscript/loader";
import { ATTEND_ARGS, type Kernels, SCORE_ROW } from "../../bindings/engine/abi.ts";
import { structBytes } from "../../bindings/engine/kernels.ts";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { Heed } from "../../bindings/heed.ts";
import { type Build, bytesOf } from "./builds.ts";
import { type Access, instrument } from "./instrument.ts";
import { READABLE_BEHIND } from "./poison.ts";

interface Block {
  readonly start: number;
  readonly end: number;
  /** How many blocks were allocated before it. */
  readonly number: number;
}

/** The addresses that a kernel is handed. */
interface Pointers {
  reads: number[];
  writes: number[];
}

export interface CheckedHeed {
  heed: Heed;
  /** Runs a call: of the blocks that are there before, kernels may touch those alone that they are handed. */
  call: <T>(act: () => T) => T;
  /** How many accesses have been checked. */
  checked: () => number;
}

/** The word of a struct, or of a table, in memory. */
type Word = (ptr: number, index: number) => number;

const entries = (word: Word, table: number, count: number): number[] =>
  table === 0 ? [] : Array.from({ length: count }, (_, n) => word(table, n));

const ATTEND_WRITES = ["out", "lse", "tiles"];
const ATTEND_READS = ["q", "k", "v", "keepMask", "bias", "alibiSlopes", "sinks", "pages", "constants"];

function attendArgs(word: Word, args: number): Pointers {
  const field = (name: string) => word(args, (ATTEND_ARGS.fields as readonly string[]).indexOf(name));
  const pages = field("pages");
  const reads = ATTEND_READS.filter((name) => pages === 0 || (name !== "k" && name !== "v")).map(field);
  return {
    reads: [args, ...reads, ...entries(word, pages, field("pageCount"))],
    writes: ATTEND_WRITES.map(field),
  };
}

/** The weights, and the entropy, of `count` ScoreRows. */
function scoreRows(word: Word, rows: number, count: number): number[] {
  const words = structBytes(SCORE_ROW) / 4;
  const field = (name: (typeof SCORE_ROW.fields)[number]) => SCORE_ROW.fields.indexOf(name);
  return Array.from({ length: count }, (_, n) => n * words).flatMap((row) => [
    word(rows, row + field("weights")),
    word(rows, row + field("entropy")),
  ]);
}

const pointersOf: { [K in keyof Kernels]?: (word: Word, ...args: number[]) => Pointers } = {
  attend: (word, args, scratch) => {
    const { reads, writes } = attendArgs(word, args);
    return { reads, writes: [scratch, ...writes] };
  },
  workItems: (_, args) => ({ reads: [args], writes: [] }),
  writeConstants: (_, table) => ({ reads: [], writes: [table] }),
  linear: (_, out, x, panels, bias, scratch) => ({ reads: [x, panels, bias], writes: [out, scratch] }),
  packPanels: (_, panels, weight) => ({ reads: [weight], writes: [panels] }),
  storeRows: (_, to, scales, from) => ({ reads: [from], writes: [to, scales] }),
  rotate: (_, out, x, cos, sin, angles) => ({ reads: [x, cos, sin, angles], writes: [out] }),
  mergeRows: (word, out, lse, outs, lses, sinks, scratch, parts) => ({
    reads: [outs, lses, sinks, ...entries(word, outs, parts), ...entries(word, lses, parts)],
    writes: [out, lse, scratch],
  }),
  topOfRow: (_, weights, indices, row) => ({ reads: [row], writes: [weights, indices] }),
  divideRow: (_, row) => ({ reads: [], writes: [row] }),
  normalizeRows: (word, args, scratch, rows, count) => ({
    reads: attendArgs(word, args).reads,
    writes: [scratch, rows, ...scoreRows(word, rows, count)],
  }),
  sumRows: (word, to, low, rows, count) => ({ reads: [rows, ...scoreRows(word, rows, count)], writes: [to, low] }),
  scoreRows: (word, args, scratch, rows, q, count) => ({
    reads: [q, ...attendArgs(word, args).reads],
    writes: [scratch, rows, ...scoreRows(word, rows, count)],
  }),
};

const modules: Partial<Record<Build, Promise<WebAssembly.Module>>> = {};

/** How a checked instance is made. */
interface Setup {
  /** The memory it works on; by default one of its own. */
  memory?: WebAssembly.Memory;
  /** Is handed the instance before its blocks are watched. */
  prepare?: (heed: Heed) => void;
}

/** Makes instances of a checked build. */
export async function checkedBuild(name: Build): Promise<(setup?: Setup) => CheckedHeed> {
  const module = await (modules[name] ??= instrument(bytesOf(name)).then((bytes) => new WebAssembly.Module(bytes)));
  return (setup = {}) => open(module, setup);
}

function open(module: WebAssembly.Module, setup: Setup): CheckedHeed {
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
  const raw = instantiateSync(module, { env: { memory }, checked: { access } }).exports;
  const word: Word = (ptr, index) => new Uint32Array(memory.buffer, ptr, index + 1)[index]!;
  const kernels: Record<string, (...args: number[]) => unknown> = {};
  for (const [name, run] of Object.entries(raw as unknown as typeof kernels)) {
    if (typeof run !== "function") continue;
    kernels[name] = (...args) => {
      const { reads, writes } = pointersOf[name as keyof Kernels]?.(word, ...args) ?? { reads: [], writes: [] };
      const holds = (pointers: number[]) => (block: Block) =>
        block.number >= firstOfCall || pointers.some((ptr) => block.start <= ptr >>> 0 && ptr >>> 0 <= block.end);
      writable = [...blocks.values()].filter(holds(writes));
      readable = [...blocks.values()].filter(holds([...reads, ...writes]));
      kernel = name;
      return run(...args);
    };
  }

  const heed = new Heed(kernels as unknown as Kernels, memory);
  prepare?.(heed);
  const { arena, constants } = heed[INSTANCE];
  const add = (start: number, bytes: number) => blocks.set(start, { start, end: start + bytes, number: count++ });
  add(constants, (raw as unknown as Kernels).constantBytes());
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
