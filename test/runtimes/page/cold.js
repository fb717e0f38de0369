import { coldStart } from "../cold.js";

coldStart().then((cold) => {
  const output = document.createElement("output");
  output.textContent = JSON.stringify(cold);
  document.body.append(output);
});
