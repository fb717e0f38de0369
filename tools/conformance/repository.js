// Files of a public git repository at one commit, without its history and without its other files.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * @typedef {object} Source
 * @property {string} repository owner/name on GitHub
 * @property {string} commit
 * @property {string[]} patterns of the files that are wanted, as in .gitignore
 * @property {string} licence
 */

/**
 * What `read` makes of a temporary folder with the files of `source`.
 * @template Result
 * @param {Source} source
 * @param {(folder: string) => Result} read
 */
export function withFiles({ repository, commit, patterns }, read) {
  const folder = mkdtempSync(join(tmpdir(), "heed-conformance-"));
  /** @param {string[]} args */
  const git = (...args) => execFileSync("git", args, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  try {
    git("init", "--quiet");
    git("remote", "add", "origin", `https://github.com/${repository}.git`);
    git("sparse-checkout", "set", "--no-cone", ...patterns);
    git("fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", commit);
    git("checkout", "--quiet", "FETCH_HEAD");
    return read(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
