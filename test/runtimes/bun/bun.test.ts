import { describeHost } from "../host.ts";
import { answerOf, installed, output } from "../project.ts";

const bun = installed(".bin/bun");
const version = (await output(bun, ["--version"])).trim();
describeHost({ name: "Bun", how: "node_modules", version }, () => answerOf(bun, ["run", "node/main.js"]));
describeHost({ name: "Bun", how: "worker thread", version }, () => answerOf(bun, ["run", "node/thread.js"]));
