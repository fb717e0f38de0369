import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
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

afterEach(() => void child?.kill());

describe("npm run lens", () => {
  it("serves the page, to this machine, and nothing else", async () => {
    const { said } = await serve("--port", "0");
    const url = /http:\/\/127\.0\.0\.1:\d+\//.exec(said)![0];
    const page = await fetch(url);
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(await page.text()).toContain("<title>");
    expect((await fetch(`${url}else`)).status).toBe(404);
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
