import { coldStart } from "../cold.js";

addEventListener("fetch", (/** @type {any} */ event) => {
  event.respondWith(coldStart().then((cold) => Response.json(cold)));
});
