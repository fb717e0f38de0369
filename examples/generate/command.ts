// What the commands that read a checkpoint of llama2.c have in common.
import { readFileSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";
import { InputError } from "./input.ts";

/** How to get the smallest model, and how to run `npm run <command>` with it. */
export function download(command: string): string {
  return `The smallest model has 1 MB:

  curl -L -O https://huggingface.co/karpathy/tinyllamas/resolve/main/stories260K/stories260K.bin
  curl -L -O https://huggingface.co/karpathy/tinyllamas/resolve/main/stories260K/tok512.bin
  npm run ${command} -- --model stories260K.bin --tokenizer tok512.bin
`;
}

/** The options of the command line. */
export function parseOptions<const Options extends NonNullable<ParseArgsConfig["options"]>>(options: Options) {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    const [first] = (error as Error).message.split(/\. |\n/);
    throw new InputError(`${first!} (--help lists the options)`);
  }
}

export function parseNumber(name: string, given: string, least: number, most: number, whole = false): number {
  const value = Number(given);
  if (given.trim() !== "" && value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
  throw new InputError(
    `${name} expected a ${whole ? "whole " : ""}number from ${least} to ${most}, got ${JSON.stringify(given)}`,
  );
}

/** The bytes of a file that an option names. `command` is what the user is told to run where it names none. */
export function readInput(name: string, path: string | undefined, command: string): Uint8Array {
  if (path === undefined) {
    throw new InputError(
      `${name} expected a file, got none (--help lists the options)\n\n${download(command).trimEnd()}`,
    );
  }
  try {
    return readFileSync(path);
  } catch (error) {
    throw new InputError(`${name}: ${(error as Error).message}`);
  }
}

/** Runs a command; prints what the user gave wrong in a line. */
export async function run(command: string, main: () => Promise<void>): Promise<void> {
  // A reader such as `head` may close the pipe early, which is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
  try {
    await main();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    process.stderr.write(`${command}: ${error.message}\n`);
    process.exitCode = 1;
  }
}
