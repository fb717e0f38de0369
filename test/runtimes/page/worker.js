import { runCases } from "../cases.js";
import "./awake.js";

runCases().then((report) => postMessage(report));
