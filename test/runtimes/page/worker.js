import { runCases } from "../cases.js";

runCases().then((report) => postMessage(report));
