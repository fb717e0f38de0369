import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { afterEach, describe, expect, it } from "vitest";

let child: ChildProcess | undefined;

/** Starts the server with the arguments; resolves to what it said, and to how it ended unless it serves. */
async function serve(...args: string[]): Promise<{ said: string; code: number | null }> {
  child = spawn(process.execPath, ["examples/lens/serve.js", ...args]);
  let said = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (said += text));
  child.stdout!.setEncoding("utf8").on("data", (text: string) => (said += text));
  await Promise.race([once(child, "close"), once(child.stdout!, "data")]);
  return { said, code: child.exitCode };
}

/** Asks for a path as it is written, which fetch would not. */
async function ask(port: number, method: string, path: string) {
  const request = httpRequest({ host: "127.0.0.1", port, method, path, agent: false }).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  let body = "";
  for await (const chunk of response.setEncoding("utf8") as AsyncIterable<string>) body += chunk;
  const { date, ...headers } = response.headers;
  expect(date).toBeDefined();
  return { status: response.statusCode, headers, body };
}

afterEach(() => void child?.kill());

describe("npm run lens", () => {
  it("serves the page, to this machine, and nothing else", async () => {
    const { said } = await serve("--port", "0");
    const url = /http:\/\/127\.0\.0\.1:\d+\//.exec(said)![0];
    const page = await fetch(url);
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(await page.text()).toContain("<title>");
    // Isolated, so that heed may have threads.
    expect(page.headers.get("cross-origin-opener-policy")).toBe("same-origin");
    expect(page.headers.get("cross-origin-embedder-policy")).toBe("require-corp");
    expect((await fetch(`${url}else`)).status).toBe(404);
  });

  it("answers GET and HEAD alone, whatever the query", async () => {
    const { said } = await serve("--port", "0");
    const port = Number(/:(\d+)\//.exec(said)![1]);
    const page = await ask(port, "GET", "/");
    expect(page.status).toBe(200);
    expect(page.body).toContain("<title>");
    for (const path of ["/?x=1", "/lens.html", "/lens.html?a=/../b#c", "/%6cens.html", `http://127.0.0.1:${port}/?x`]) {
      expect(await ask(port, "GET", path), path).toEqual(page);
    }
    expect(await ask(port, "HEAD", "/?x=1")).toEqual({ ...page, body: "" });
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      for (const path of ["/", "/else"]) {
        const { status, headers } = await ask(port, method, path);
        expect([status, headers.allow]).toEqual([405, "GET, HEAD"]);
      }
    }
  });

  it("finds nothing else, however it is written", async () => {
    const { said } = await serve("--port", "0");
    const port = Number(/:(\d+)\//.exec(said)![1]);
    for (const path of ["/%2e%2e/package.json", "/../package.json", "/..%2fpackage.json", "/%2e%2e%5cpackage.json"]) {
      expect((await ask(port, "GET", path)).status, path).toBe(404);
    }
    for (const path of ["/%00", "/lens.html%00", "/\\..\\package.json", "//", "/lens.html/", "/read.js", "*", "/c:/"]) {
      expect((await ask(port, "GET", path)).status, path).toBe(404);
    }
    for (const path of ["/%", "/%zz", "/%ff", "/%c0%af"]) {
      const { status, headers } = await ask(port, "GET", path);
      expect([status, headers["content-type"]], path).toEqual([400, "text/plain; charset=utf-8"]);
    }
    expect((await ask(port, "GET", "/")).status).toBe(200);
  });

  it.each(["-1", "65536", "http", "80.5", "", "1e3"])("refuses the port %j", async (port) => {
    const { said, code } = await serve(`--port=${port}`);
    expect(said).toBe(`lens: "--port" expected an integer from 0 to 65535, got ${JSON.stringify(port)}\n`);
    expect(code).toBe(2);
  });

  it("refuses what it does not know", async () => {
    const { said, code } = await serve("--prot", "80");
    expect(said).toMatch(/^lens: .*--prot.*\n$/);
    expect(code).toBe(2);
  });

  it("says that a port is taken", async () => {
    const { said } = await serve("--port", "0");
    const first = child!;
    try {
      const port = /:(\d+)\//.exec(said)![1]!;
      const second = await serve("--port", port);
      expect(second.said).toMatch(new RegExp(`^lens: .*EADDRINUSE.*${port}\\n$`));
      expect(second.code).toBe(1);
    } finally {
      first.kill();
    }
  });
});
