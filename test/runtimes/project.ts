import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** Where heed is installed from its tarball, beside the cases and the programs of the hosts; start.js makes it. */
export const project = process.env.HEED_PROJECT ?? "";
if (!existsSync(project)) throw new Error("run this by test/runtimes/start.js, which packs heed first");

/** A path in the project. */
export const pathIn = (...path: string[]): string => join(project, ...path);

/** What a program prints. */
export function output(program: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { cwd: project, env: { ...process.env, NODE_OPTIONS: "", ...env }, maxBuffer: 1e8 };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error) reject(new Error(`${error.message}\n${stdout}${stderr}`));
      else resolve(stdout);
    });
  });
}

/** What a program prints, as JSON. */
export async function answerOf<Answer>(program: string, args: string[]): Promise<Answer> {
  return JSON.parse(await output(program, args)) as Answer;
}

/** A path of what test/runtimes/package.json installs. */
export const installed = (path: string): string => join(process.env.HEED_RUNTIMES!, "node_modules", path);
