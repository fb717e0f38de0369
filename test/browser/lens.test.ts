// The page of examples/lens as the build made it, in a frame: what it shows follows the text, the keyboard and the
// theme.
import type axe from "axe-core";
import { load } from "heed";
import { afterEach, describe, expect, it } from "vitest";
import { commands } from "vitest/browser";
import axeSource from "axe-core/axe.min.js?raw";
import page from "../../build/lens.html?raw";
import { HEADS, INDUCTION } from "../../examples/read/heads.ts";
import { Reading } from "../../examples/lens/reading.ts";

declare module "vitest/browser" {
  interface BrowserCommands {
    /** Makes the browser prefer light or dark. */
    prefer(scheme: "light" | "dark"): Promise<void>;
    /** Opens build/lens.html as a file in a page of its own, and gives what its status line says in the end. */
    openFile(): Promise<{ status: string; requests: string[] }>;
  }
}

let frame: HTMLIFrameElement | undefined;
afterEach(() => frame?.remove());

/** Opens the page, with a text of its own, and waits until all of it is drawn. */
async function open(width = 1200, text?: string, scheme = "light"): Promise<Document> {
  const source = JSON.stringify({ title: "A text", text, limit: 8192, start: 0 }).replaceAll("<", "\\u003c");
  const html = text === undefined ? page : page.replace(/(id="source">)[^<]*/, (_, open: string) => open + source);
  frame = document.createElement("iframe");
  frame.style.cssText = `border: 0; width: ${width}px; height: 900px; color-scheme: ${scheme}`;
  document.body.append(frame);
  const url = URL.createObjectURL(new Blob([html], { type: "text/html" }));
  await new Promise((loaded) => {
    frame!.onload = loaded;
    frame!.src = url;
  });
  const opened = frame.contentDocument!;
  await drawn(opened);
  return opened;
}

/** Waits until a text is shown to its last token: the page names the tokens when everything is drawn. */
async function drawn(opened: Document): Promise<void> {
  await expect.poll(() => opened.getElementById("status")!.textContent, { timeout: 20_000 }).toMatch(/ ms\.$/);
  await expect.poll(() => opened.querySelectorAll(".token").length).toBeGreaterThan(0);
  await expect.poll(() => opened.getElementById("words")!.textContent).not.toBe("");
}

async function type(opened: Document, text: string): Promise<void> {
  const area = opened.querySelector("textarea")!;
  area.focus();
  area.value = text;
  opened.getElementById("status")!.textContent = "";
  area.dispatchEvent(new Event("input", { bubbles: true }));
  await drawn(opened);
}

function press(target: Element, key: string): void {
  const { KeyboardEvent } = target.ownerDocument.defaultView!;
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
}

/** The pixels of a small heat map. */
function pixels(opened: Document, head: number): number[] {
  const canvas = opened.querySelectorAll<HTMLCanvasElement>(".head canvas")[head]!;
  return Array.from(canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height).data);
}

/** The table that "Save CSV" gives: [position, token, sink, before, …]. */
async function saved(opened: Document): Promise<string[][]> {
  const window = opened.defaultView!;
  let url = "";
  const { prototype } = window.HTMLAnchorElement;
  const click = Object.getOwnPropertyDescriptor(window.HTMLElement.prototype, "click")!;
  Object.defineProperty(prototype, "click", {
    configurable: true,
    value(this: HTMLAnchorElement) {
      url = this.href;
    },
  });
  opened.getElementById("save")!.click();
  Object.defineProperty(prototype, "click", click);
  const text = await (await fetch(url)).text();
  return text
    .trim()
    .split("\r\n")
    .slice(1)
    .map((row) => row.split(","));
}

const cell = (opened: Document): string => opened.getElementById("cell")!.textContent;
/** Each word has a space before it, so that it is the same token each time. */
const REPEATED = " one fish two fish one fish two";

describe("the page", () => {
  it("draws the text, and cells change with it", async () => {
    const opened = await open();
    expect(opened.getElementById("status")!.textContent).toContain(
      "The opening of Moby-Dick: 235 tokens, 152 distinct",
    );
    const before = HEADS.map((_, head) => pixels(opened, head));
    expect(opened.querySelectorAll(".token")).toHaveLength(48);
    await type(opened, REPEATED);
    expect(Array.from(opened.querySelectorAll(".token"), (token) => token.textContent).join("")).toBe(REPEATED);
    HEADS.forEach((_, head) => expect(pixels(opened, head)).not.toEqual(before[head]));
    const repeated = pixels(opened, INDUCTION);
    await type(opened, REPEATED.replace("one fish two", "one bird two"));
    expect(pixels(opened, INDUCTION)).not.toEqual(repeated);
  });

  it("shares out 1 in each row of every head", async () => {
    const opened = await open(1200, REPEATED);
    for (const [head, radio] of opened.querySelectorAll<HTMLInputElement>(".head input").entries()) {
      radio.click();
      await expect.poll(() => opened.getElementById("map-title")!.textContent).toContain(HEADS[head]!.name);
      await drawn(opened);
      const rows = await saved(opened);
      expect(rows).toHaveLength(7);
      for (const [, , ...shares] of rows) {
        // The sink's share is computed apart, from an lse near 48 that is rounded to f32.
        expect(Math.abs(shares.reduce((sum, share) => sum + Number(share), 0) - 1)).toBeLessThan(1e-4);
      }
    }
  });

  it("sees what stands before the passage, and follows the caret", async () => {
    const opened = await open(1200, `${REPEATED} `.repeat(40));
    const rows = await saved(opened);
    expect(rows[0]![0]).toBe("0");
    const area = opened.querySelector("textarea")!;
    area.setSelectionRange(area.value.length, area.value.length);
    area.click();
    await expect.poll(async () => (await saved(opened))[0]![0]).not.toBe("0");
    const later = await saved(opened);
    expect(Number(later[0]![3])).toBeGreaterThan(0.5);
    for (const [, , ...shares] of later) {
      expect(Math.abs(shares.reduce((sum, share) => sum + Number(share), 0) - 1)).toBeLessThan(1e-4);
    }
  });

  it("takes a text of no token, of one, and of strange ones", async () => {
    const opened = await open(1200, REPEATED);
    const area = opened.querySelector("textarea")!;
    area.value = "";
    area.dispatchEvent(new Event("input"));
    await expect.poll(() => opened.getElementById("status")!.textContent).toContain("Nothing to read");
    expect(opened.querySelectorAll(".token")).toHaveLength(0);
    await type(opened, "a");
    expect(opened.querySelectorAll(".token")).toHaveLength(1);
    await type(opened, "</script><b>𒀀\n\t\u202e日本 🦄");
    expect(opened.querySelector(".token b")).toBeNull();
    expect(opened.getElementById("trouble")!.textContent).toBe("");
  });

  it("works from the keyboard", async () => {
    const opened = await open(1200, REPEATED);
    const map = opened.getElementById("map")!;
    map.focus();
    expect(opened.activeElement).toBe(map);
    press(map, "ArrowUp");
    press(map, "Home");
    expect(cell(opened)).toContain("→ the sink");
    press(map, "ArrowRight");
    expect(cell(opened)).toContain("→ the tokens before: 0\u00a0%");
    press(map, "ArrowRight");
    expect(cell(opened)).toContain("→ “one” (0)");
    press(map, "End");
    const [, row, key] = /\((\d+)\) → .*\((\d+)\)/.exec(cell(opened))!;
    expect(key).toBe(row);
    press(map, "ArrowDown");
    expect(cell(opened)).toContain(`(${Number(row) + 1}) → `);

    const tokens = opened.querySelectorAll<HTMLButtonElement>(".token");
    expect(Array.from(tokens).filter((token) => token.tabIndex === 0)).toHaveLength(1);
    press(tokens[0]!, "Home");
    expect(opened.activeElement).toBe(tokens[0]);
    press(tokens[0]!, "End");
    press(tokens[6]!, "ArrowLeft");
    press(tokens[5]!, "ArrowLeft");
    expect(opened.activeElement).toBe(tokens[4]);
    expect(tokens[4]!.getAttribute("aria-pressed")).toBe("true");
    expect(opened.getElementById("words-title")!.textContent).toBe("“one”, token 4, looks at");
    // Guesses are read after all weights are drawn.
    await expect.poll(() => opened.getElementById("words")!.textContent).toContain("so it guesses “fish”: right");
  });

  it("zooms, and shows digits in large cells", async () => {
    const opened = await open(1200);
    expect(opened.querySelectorAll(".percent")).toHaveLength(0);
    const map = opened.getElementById("map")!;
    for (let step = 0; step < 5; step++) press(map, "+");
    await expect.poll(() => opened.querySelectorAll(".percent").length).toBeGreaterThan(0);
    press(map, "0");
    await expect.poll(() => opened.querySelectorAll(".percent").length).toBe(0);
  });

  it("links a token to those it looks at, under the pointer", async () => {
    const opened = await open(1200, REPEATED);
    const { PointerEvent } = opened.defaultView!;
    const tokens = opened.querySelectorAll(".token");
    tokens[5]!.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    expect(opened.querySelectorAll("#links path").length).toBeGreaterThan(0);
    expect(tokens[2]!.classList.contains("looked-at")).toBe(true);
    tokens[0]!.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    expect(opened.querySelectorAll("#links path")).toHaveLength(0);
  });

  it.each([
    ["light", 1200],
    ["dark", 1200],
    ["light", 360],
    ["dark", 360],
  ] as const)("has no violation that axe finds, %s, %i pixels wide", async (scheme, width) => {
    await commands.prefer(scheme);
    // A frame prefers what its element does; Firefox, driven as it is here, has no other way.
    const opened = await open(width, undefined, scheme);
    const window = opened.defaultView! as Window & typeof globalThis & { axe: typeof axe };
    expect(window.matchMedia("(prefers-color-scheme: dark)").matches).toBe(scheme === "dark");
    expect(opened.documentElement.scrollWidth).toBeLessThanOrEqual(width);
    const script = opened.createElement("script");
    script.textContent = axeSource;
    opened.head.append(script);
    const { violations, passes } = await window.axe.run(opened);
    expect(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
    expect(passes.map(({ id }) => id)).toContain("color-contrast");
  });

  it("opens as a file, and asks nothing of any server", async () => {
    const { status, requests } = await commands.openFile();
    expect(status).toMatch(/ ms\.$/);
    expect(requests.filter((url) => !/^(blob:|data:|file:.*\/lens\.html$)/.test(url))).toEqual([]);
  });
});

describe("a passage", () => {
  it("is that of the whole text, from edit to edit", async () => {
    const heed = await load();
    const go = () => Promise.resolve();
    const edited = new Reading(heed);
    const first = Array.from({ length: 300 }, (_, i) => (i * i) % 97);
    await edited.attend(first, 100, 200, go);
    const second = [...first.slice(0, 120), 5, ...first.slice(120)];
    const passage = await edited.attend(second, 90, 230, go);
    const whole = await new Reading(heed).attend(second, 0, 301, go);
    for (const head of HEADS.keys()) {
      const part = await edited.weigh(passage, head, go);
      const fresh = new Reading(heed);
      expect(part).toEqual(await fresh.weigh(await fresh.attend(second, 90, 230, go), head, go));
      const importance = await edited.importance(passage, head, go);
      for (let key = 0; key < 140; key++) {
        let sum = 0;
        for (let row = key; row < 140; row++) sum += part.weights[row * 140 + key]!;
        expect(Math.abs(importance[key]! - sum)).toBeLessThan(1e-4);
      }
    }
    // The same rows, but for how the kernel splits them into blocks: outputs are codes of 64 values of ±1/8.
    const out = whole.answer.out.subarray(90 * 256, 230 * 256);
    passage.answer.out.forEach((value, i) => expect(Math.abs(value - out[i]!)).toBeLessThan(1e-5));
    heed.dispose();
  });
});
