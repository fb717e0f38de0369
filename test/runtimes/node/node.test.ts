import { describeHost } from "../host.ts";
import { answerOf, installed, output } from "../project.ts";

for (const major of [20, 22, 24, 26]) {
  const node = installed(`node-${major}/bin/node`);
  const version = (await output(node, ["--version"])).trim().slice(1);
  const name = `Node ${major}`;
  describeHost({ name, how: "node_modules", version }, () => answerOf(node, ["node/main.js"]));
  describeHost({ name, how: "worker thread", version }, () => answerOf(node, ["node/thread.js"]));
}
