import { runCases } from "../cases.js";
import "./awake.js";

addEventListener("message", (event) => {
  const [port] = event.ports;
  const done = runCases().then((report) => port?.postMessage(report));
  // A browser may end a service worker that nothing waits for.
  /** @type {typeof event & { waitUntil(done: Promise<unknown>): void }} */ (event).waitUntil(done);
});
