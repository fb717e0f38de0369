// node examples/lens/serve.js [--port n]: serves the built page on 127.0.0.1. Port 0 takes a free one.
import process from "node:process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

/** The port asked for. What cannot be understood ends the program. */
function askedPort() {
  try {
    const { port } = parseArgs({ options: { port: { type: "string", default: "8000" } } }).values;
    if (/^\d{1,5}$/.test(port) && Number(port) < 65536) return Number(port);
    throw new RangeError(`"--port" expected an integer from 0 to 65535, got ${JSON.stringify(port)}`);
  } catch (error) {
    process.stderr.write(`lens: ${/** @type {Error} */ (error).message}\n`);
    process.exit(2);
  }
}

const port = askedPort();
const page = readFileSync(new URL("../../build/lens.html", import.meta.url));

/**
 * A status and the text that goes with it. There is one page, held in memory: no path leads to a file.
 * @param {import("node:http").IncomingMessage} request
 * @returns {{ status: number, text: string | Buffer }}
 */
function answer({ method, url = "" }) {
  if (method !== "GET" && method !== "HEAD") return { status: 405, text: "GET and HEAD are answered here.\n" };
  // A target may be a whole URL (RFC 9112, 3.2.2), and has a query at its end.
  const path = url.replace(/^https?:\/\/[^/?]*/i, "").replace(/[?#].*$/s, "");
  try {
    if (["", "/", "/lens.html"].includes(decodeURIComponent(path))) return { status: 200, text: page };
    return { status: 404, text: "There is one page here: /\n" };
  } catch {
    return { status: 400, text: "This path is not percent-encoded UTF-8.\n" };
  }
}

const server = createServer((request, response) => {
  const { status, text } = answer(request);
  response.writeHead(status, {
    "content-type": `text/${status === 200 ? "html" : "plain"}; charset=utf-8`,
    "content-length": Buffer.byteLength(text),
    "x-content-type-options": "nosniff",
    // These isolate the page, so that heed may have threads.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    ...(status === 405 && { allow: "GET, HEAD" }),
  });
  response.end(text);
})
  .on("error", (error) => {
    process.stderr.write(`lens: ${error.message}\n`);
    process.exitCode = 1;
  })
  .listen(port, "127.0.0.1", () => {
    const { port: taken } = /** @type {import("node:net").AddressInfo} */ (server.address());
    process.stdout.write(`http://127.0.0.1:${taken}/ (or open build/lens.html itself); Ctrl+C ends\n`);
  });
