import { runCases } from "../cases.js";

console.log(JSON.stringify(await runCases()));
