// node examples/lens/serve.js [--port n]: serves the page that the build made, to this machine alone.
import process from "node:process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { port: { type: "string", default: "8000" } } });
const page = readFileSync(new URL("../../build/lens.html", import.meta.url));

createServer(({ url }, response) => {
  const isPage = url === "/" || url === "/lens.html";
  response.writeHead(isPage ? 200 : 404, { "content-type": isPage ? "text/html; charset=utf-8" : "text/plain" });
  response.end(isPage ? page : "There is one page here: /\n");
})
  .on("error", (error) => {
    process.stderr.write(`lens: ${error.message}\n`);
    process.exitCode = 1;
  })
  .listen(Number(values.port), "127.0.0.1", () => {
    process.stdout.write(`http://127.0.0.1:${values.port}/ (or open build/lens.html itself); Ctrl+C ends\n`);
  });
