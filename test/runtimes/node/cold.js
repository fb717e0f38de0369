import { coldStart } from "../cold.js";

console.log(JSON.stringify(await coldStart()));
