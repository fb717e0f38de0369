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

const server = createServer(({ url }, response) => {
  const isPage = url === "/" || url === "/lens.html";
  response.writeHead(isPage ? 200 : 404, { "content-type": isPage ? "text/html; charset=utf-8" : "text/plain" });
  response.end(isPage ? page : "There is one page here: /\n");
})
  .on("error", (error) => {
    process.stderr.write(`lens: ${error.message}\n`);
    process.exitCode = 1;
  })
  .listen(port, "127.0.0.1", () => {
    const { port: taken } = /** @type {import("node:net").AddressInfo} */ (server.address());
    process.stdout.write(`http://127.0.0.1:${taken}/ (or open build/lens.html itself); Ctrl+C ends\n`);
  });
