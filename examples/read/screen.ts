// A report on a terminal: its first screen, and the rest for who asks.
import { emitKeypressEvents, type Key } from "node:readline";
import { number } from "./phrases.ts";

const ERASE_LINE = "\r\x1b[2K";

/**
 * Writes all at once, or, where someone sits at a terminal with fewer rows than that, the first lines and then what is
 * asked for.
 */
export async function show(first: string[], rest: string[]): Promise<void> {
  const all = [...first, "", ...rest];
  if (!isAttended() || all.length < process.stdout.rows) {
    write(all);
    return;
  }
  write(first);
  process.stdout.write(`\n Enter: the rest, ${number(rest.length)} lines · q: end `);
  const wanted = await asksForMore();
  process.stdout.write(ERASE_LINE);
  if (wanted) write(rest);
}

function write(lines: string[]): void {
  process.stdout.write(`${lines.join("\n")}\n`);
}

/** Whether someone sees the output and can answer. */
function isAttended(): boolean {
  return process.stdout.isTTY && process.stdin.isTTY && !process.env["CI"];
}

/** Waits for a key: true for Enter, the space bar and what moves on in other pagers. */
async function asksForMore(): Promise<boolean> {
  const { stdin } = process;
  emitKeypressEvents(stdin);
  stdin.setRawMode(true);
  try {
    for (;;) {
      const key = await new Promise<Key>((resolve) => {
        stdin.once("keypress", (_: string | undefined, pressed: Key) => resolve(pressed));
        stdin.resume();
      });
      if (["return", "enter", "space", "down", "pagedown", "j", "f"].includes(key.name ?? "")) return true;
      if (["q", "escape"].includes(key.name ?? "") || (key.ctrl && ["c", "d"].includes(key.name ?? ""))) return false;
    }
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
  }
}
