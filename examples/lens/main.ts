// The page: a text that can be edited, and what four attention heads look at in it, computed by heed as it changes.
import { load } from "heed";
import { Lens, type Source } from "./lens.ts";
import { Tokeniser } from "./tokeniser.ts";

function fail(error: unknown): void {
  document.getElementById("trouble")!.textContent = `This page cannot work here: ${(error as Error).message}`;
  document.getElementById("status")!.textContent = "";
}

async function main(): Promise<void> {
  const program = document.getElementById("tokeniser")!.textContent;
  const tokeniser = new Tokeniser(program.trim(), fail);
  const source = JSON.parse(document.getElementById("source")!.textContent) as Source;
  await new Lens(await load({ threads: true }), tokeniser, source).read();
}

main().catch(fail);
