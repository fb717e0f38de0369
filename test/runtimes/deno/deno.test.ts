import { describeHost } from "../host.ts";
import { answerOf, installed, output } from "../project.ts";

const deno = installed(".bin/deno");
const version = /deno ([\d.]+)/.exec(await output(deno, ["--version"]))![1]!;
// No permission is given: heed needs none.
describeHost({ name: "Deno", how: "node_modules", version }, () =>
  answerOf(deno, ["run", "--no-prompt", "node/main.js"]),
);
