// WebKit on Linux is driven by WebDriver (https://www.w3.org/TR/webdriver2/), which playwright does not speak; as far as it is needed.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout } from "node:timers/promises";

const DRIVER = "/usr/bin/WebKitWebDriver";
const XVFB = "/usr/bin/Xvfb";
const BROWSER = `/usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/webkit2gtk-4.1/MiniBrowser`;

export const isWebKitInstalled = [DRIVER, XVFB, BROWSER].every((path) => existsSync(path));

export class WebKit {
  readonly #processes: ChildProcess[];
  readonly #session: string;
  readonly version: string;

  private constructor(processes: ChildProcess[], session: string, version: string) {
    this.#processes = processes;
    this.#session = session;
    this.version = version;
  }

  /** A browser on a screen of its own. */
  static async launch(): Promise<WebKit> {
    const xvfb = spawn(XVFB, ["-displayfd", "3", "-nolisten", "tcp"], {
      stdio: ["ignore", "ignore", "ignore", "pipe"],
    });
    const processes: ChildProcess[] = [xvfb];
    try {
      const display = await new Promise<string>((resolve, reject) => {
        xvfb.stdio[3]!.once("data", (number: Buffer) => resolve(number.toString().trim()));
        xvfb.once("exit", (code) => reject(new Error(`Xvfb ended with ${code}`)));
      });
      const port = await freePort();
      // No sandbox of its own for a browser that runs as root, as in containers.
      const env = {
        ...process.env,
        DISPLAY: `:${display}`,
        GDK_BACKEND: "x11",
        WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
        LIBGL_ALWAYS_SOFTWARE: "1",
      };
      processes.push(spawn(DRIVER, ["--host=127.0.0.1", `--port=${port}`], { env, stdio: "ignore" }));
      const driver = `http://127.0.0.1:${port}`;
      await untilReady(driver);
      const options = { binary: BROWSER, args: ["--automation"] };
      const { sessionId, capabilities } = (await command(`${driver}/session`, {
        capabilities: { alwaysMatch: { "webkitgtk:browserOptions": options, pageLoadStrategy: "normal" } },
      })) as { sessionId: string; capabilities: { browserVersion: string } };
      return new WebKit(processes, `${driver}/session/${sessionId}`, capabilities.browserVersion);
    } catch (error) {
      for (const child of processes) child.kill();
      throw error;
    }
  }

  /** What the page at `url` writes into its output element. */
  async textOf(url: string, seconds = 90): Promise<string> {
    await command(`${this.#session}/url`, { url });
    const script = 'return document.querySelector("output")?.textContent ?? null';
    for (let waited = 0; waited < 5 * seconds; waited++) {
      const text = await command(`${this.#session}/execute/sync`, { script, args: [] });
      if (typeof text === "string") return text;
      await setTimeout(200);
    }
    throw new Error(`${url}: no output in ${seconds} s`);
  }

  async close(): Promise<void> {
    await fetch(this.#session, { method: "DELETE" }).catch(() => undefined);
    for (const child of this.#processes.reverse()) child.kill();
  }
}

async function command(url: string, body: object): Promise<unknown> {
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  const { value } = (await response.json()) as { value: unknown };
  if (!response.ok) throw new Error(`${url}: ${JSON.stringify(value)}`);
  return value;
}

async function untilReady(driver: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await fetch(`${driver}/status`);
      return;
    } catch (error) {
      if (tries === 50) throw error;
      await setTimeout(100);
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
