import { runCases } from "../cases.js";

addEventListener("message", ({ ports: [port] }) => {
  runCases().then((report) => port?.postMessage(report));
});
