// WebKit on Linux is driven by WebDriver (https://www.w3.org/TR/webdriver2/), which playwright does not speak.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { Builder, By, type WebDriver, until } from "selenium-webdriver";
import { DriverService } from "selenium-webdriver/remote/index.js";

const DRIVER = "/usr/bin/WebKitWebDriver";
const XVFB = "/usr/bin/Xvfb";
const BROWSER = `/usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/webkit2gtk-4.1/MiniBrowser`;

export const isWebKitInstalled = [DRIVER, XVFB, BROWSER].every((path) => existsSync(path));

export class WebKit {
  readonly #screen: ChildProcess;
  readonly #service: DriverService;
  readonly #driver: WebDriver;
  readonly version: string;

  private constructor(screen: ChildProcess, service: DriverService, driver: WebDriver, version: string) {
    this.#screen = screen;
    this.#service = service;
    this.#driver = driver;
    this.version = version;
  }

  /** A browser on a screen of its own. */
  static async launch(): Promise<WebKit> {
    const { screen, display } = await openScreen();
    const service = serviceOn(display);
    try {
      const driver = await new Builder()
        .usingServer(await service.start())
        .withCapabilities({
          browserName: "MiniBrowser",
          "webkitgtk:browserOptions": { binary: BROWSER, args: ["--automation"] },
        })
        .build();
      const version = (await driver.getCapabilities()).get("browserVersion") as string;
      return new WebKit(screen, service, driver, version);
    } catch (error) {
      await service.kill();
      screen.kill();
      throw error;
    }
  }

  /** What the page at `url` writes into its output element. */
  async textOf(url: string, seconds = 90): Promise<string> {
    await this.#driver.get(url);
    const output = until.elementLocated(By.css("output"));
    return this.#driver.wait(output, 1000 * seconds, `${url}: no output`).getProperty("textContent");
  }

  async close(): Promise<void> {
    await this.#driver.quit();
    await this.#service.kill();
    this.#screen.kill();
  }
}

/** An X server without hardware, and the display that it chose. */
async function openScreen(): Promise<{ screen: ChildProcess; display: string }> {
  const screen = spawn(XVFB, ["-displayfd", "3", "-nolisten", "tcp"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const display = await new Promise<string>((resolve, reject) => {
    screen.stdio[3]!.once("data", (number: Buffer) => resolve(number.toString().trim()));
    screen.once("exit", (code) => reject(new Error(`Xvfb ended with ${code}`)));
  });
  return { screen, display };
}

/** WebKitWebDriver on a free port of this machine, not yet started. */
function serviceOn(display: string): DriverService {
  return new DriverService.Builder(DRIVER)
    .setLoopback(true)
    .addArguments("--host=127.0.0.1")
    .setEnvironment({
      ...(process.env as Record<string, string>),
      DISPLAY: `:${display}`,
      GDK_BACKEND: "x11",
      LIBGL_ALWAYS_SOFTWARE: "1",
      // No sandbox of its own for a browser that runs as root, as in containers.
      WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
    })
    .build();
}
