import { runCases } from "../cases.js";

runCases().then((report) => {
  const output = document.createElement("output");
  output.textContent = JSON.stringify(report);
  document.body.append(output);
});
