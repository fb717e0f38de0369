import { describeHost, installed, output, reportOf } from "../host.ts";

const deno = installed(".bin/deno");
const version = /deno ([\d.]+)/.exec(await output(deno, ["--version"]))![1]!;
// No permission is given: heed needs none.
describeHost({ name: "Deno", how: "node_modules", version }, () =>
  reportOf(deno, ["run", "--no-prompt", "node/main.js"]),
);
