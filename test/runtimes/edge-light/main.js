import { runCases } from "../cases.js";

addEventListener("fetch", (/** @type {any} */ event) => {
  event.respondWith(runCases().then((report) => Response.json(report)));
});
