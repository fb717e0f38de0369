import { describeHost, installed, output, reportOf } from "../host.ts";

const bun = installed(".bin/bun");
const version = (await output(bun, ["--version"])).trim();
describeHost({ name: "Bun", how: "node_modules", version }, () => reportOf(bun, ["run", "node/main.js"]));
