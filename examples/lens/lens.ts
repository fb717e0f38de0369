// Joins the parts of the page: the text, its passage, the heads and the map.
import type { Heed } from "heed";
import { HEADS, INDUCTION } from "../read/heads.ts";
import { count, number, quote } from "../read/phrases.ts";
import { saveCsv, toCsv } from "./csv.ts";
import { HeadsView } from "./heads-view.ts";
import { drawLegend } from "./legend.ts";
import { MapView } from "./map-view.ts";
import { Pace, Superseded } from "./pace.ts";
import { PassageView } from "./passage-view.ts";
import { type Cell, EARLIER, type Picture, SUNK, weightOf } from "./picture.ts";
import { Place } from "./place.ts";
import type { Theme } from "./ramp.ts";
import { type HeadWeights, type Passage, Reading, greatest, tellingRow } from "./reading.ts";
import { listSentences, sayCell, sayLinks, sayTop } from "./sentences.ts";
import type { Tokeniser, Tokens } from "./tokeniser.ts";

/** What the page was made for. */
export interface Source {
  title: string;
  text: string;
  /** Tokens read at most. */
  limit: number;
  /** Where the passage starts at first. */
  start: number;
}

/** A passage with all that is known of it so far. */
interface Shown {
  passage: Passage;
  heads: (HeadWeights | undefined)[];
  importances: (Float32Array | undefined)[];
  /** Of the induction head; not there until they are read. */
  guesses: (number | undefined)[] | undefined;
}

/** The element of that id, of the kind that page.html gives it. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters
const element = <E extends Element>(id: string): E => document.getElementById(id) as unknown as E;

export class Lens {
  readonly #heed: Heed;
  readonly #tokeniser: Tokeniser;
  readonly #source: Source;
  readonly #reading: Reading;
  readonly #pace = new Pace();
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");

  readonly #text = element<HTMLTextAreaElement>("text");
  readonly #cell = element<HTMLOutputElement>("cell");
  readonly #place: Place;
  readonly #heads: HeadsView;
  readonly #passage: PassageView;
  readonly #map: MapView;

  #tokens: Tokens = { tokens: [], labels: [], ends: [], covered: 0 };
  #names = new Map<number, string>();
  #head = INDUCTION;
  /** The chosen token, from the start of the text; at first the page chooses one. */
  #token: number | undefined;
  #shown: Shown | undefined;

  constructor(heed: Heed, tokeniser: Tokeniser, source: Source) {
    this.#heed = heed;
    this.#tokeniser = tokeniser;
    this.#source = source;
    this.#reading = new Reading(heed);
    this.#text.value = source.text;
    this.#place = new Place(element("start"), element("size"), () => this.#showFrom(this.#place.start));
    this.#heads = new HeadsView(element("heads"), this.#head, (head) => this.#chooseHead(head));
    this.#passage = new PassageView(
      element("tokens"),
      element("links"),
      (token) => this.#chooseToken(token),
      (token) => this.#drawLinks(token),
    );
    this.#map = new MapView(element("map"), (cell, isChosen) => this.#point(cell, isChosen));
    this.#listen();
  }

  /** Tokenises the text and shows its passage; an edit that comes meanwhile begins anew. */
  async read(): Promise<void> {
    this.#tokens = await this.#tokeniser.read(this.#text.value, this.#source.limit);
    const { tokens, labels } = this.#tokens;
    this.#names = new Map(tokens.map((token, i) => [token, labels[i]!]));
    const first = this.#shown === undefined;
    this.#place.moveTo(first ? this.#source.start : this.#startForCaret(), tokens.length);
    await this.#show();
  }

  #listen(): void {
    this.#text.addEventListener("input", () => void this.read());
    this.#text.addEventListener("click", () => this.#follow());
    this.#text.addEventListener("keyup", (event) => {
      if (/^(Arrow|Page|Home|End)/.test(event.key)) this.#follow();
    });
    const restore = element<HTMLButtonElement>("restore");
    this.#text.addEventListener("input", () => (restore.disabled = this.#text.value === this.#source.text));
    restore.addEventListener("click", () => {
      this.#text.value = this.#source.text;
      restore.disabled = true;
      this.#shown = undefined;
      void this.read();
    });
    this.#dark.addEventListener("change", () => this.#redraw());
    for (const [id, factor] of [
      ["zoom-in", 1.5],
      ["zoom-out", 1 / 1.5],
      ["zoom-all", 0],
    ] as const) {
      element(id).addEventListener("click", () => this.#map.zoomTo(factor));
    }
    element("save").addEventListener("click", () => this.#save());
  }

  get #theme(): Theme {
    return this.#dark.matches ? "dark" : "light";
  }

  #startForCaret(): number {
    return this.#place.startFor(this.#text.selectionStart, this.#tokens);
  }

  #follow(): void {
    const start = this.#startForCaret();
    if (start !== this.#place.start) this.#showFrom(start);
  }

  #showFrom(start: number): void {
    this.#place.moveTo(start, this.#tokens.tokens.length);
    void this.#show();
  }

  /** Computes what is shown, the chosen head first, and draws each part as it comes. */
  async #show(): Promise<void> {
    const breathe = this.#pace.begin();
    const { tokens, labels } = this.#tokens;
    const { start } = this.#place;
    const size = Math.min(this.#place.size, tokens.length);
    element("range").textContent = size === 0 ? "" : `${number(start)} to ${number(start + size - 1)}`;
    if (size === 0) {
      this.#showNothing();
      return;
    }
    if (this.#token !== undefined) this.#token = Math.max(start, Math.min(this.#token, start + size - 1));
    try {
      const passage = await this.#reading.attend(tokens, start, start + size, breathe);
      const heads = HEADS.map((): HeadWeights | undefined => undefined);
      const shown: Shown = { passage, heads, importances: [...heads] as undefined[], guesses: undefined };
      heads[this.#head] = await this.#reading.weigh(passage, this.#head, breathe);
      this.#token ??= start + tellingRow(heads[this.#head]!.weights, tokens.slice(start, start + size));
      this.#shown = shown;
      this.#passage.show(labels.slice(start, start + size), start);
      await breathe();
      this.#drawMap();
      await breathe();
      this.#drawToken();
      this.#drawHead(this.#head);
      await breathe();
      for (const head of HEADS.keys()) {
        heads[head] ??= await this.#reading.weigh(passage, head, breathe);
        this.#drawHead(head);
        await breathe();
      }
      this.#say();
      await this.#drawImportance(breathe);
      shown.guesses = await this.#reading.guesses(passage, breathe);
      this.#drawToken();
    } catch (error) {
      if (!(error instanceof Superseded)) throw error;
    }
  }

  #showNothing(): void {
    this.#shown = undefined;
    this.#passage.show([], 0);
    this.#map.show(undefined, this.#theme);
    for (const head of HEADS.keys()) this.#heads.draw(head, undefined, 0, 0, this.#theme);
    listSentences(element("words"), []);
    for (const id of ["words-title", "links-note", "cell"]) element(id).textContent = "";
    element("status").textContent = "Nothing to read: write something.";
  }

  #say(): void {
    const { tokens, covered } = this.#tokens;
    const rest = covered < this.#text.value.length ? " (the rest is not read)" : "";
    const { size } = this.#shown!.passage;
    const { threads } = this.#heed;
    const title = this.#text.value === this.#source.text ? `${this.#source.title}: ` : "";
    element("status").textContent =
      `${title}${count(tokens.length, "token")}${rest}, ` +
      `${number(this.#names.size)} distinct. Weights of ${HEADS.length} heads × ${count(size, "row")} from ` +
      `heed (${this.#heed.variant}${threads > 1 ? `, ${threads} threads` : ""}) in ${this.#reading.milliseconds.toFixed(1)} ms.`;
  }

  #redraw(): void {
    if (!this.#shown) return;
    for (const head of HEADS.keys()) this.#drawHead(head);
    this.#drawMap();
  }

  #drawHead(head: number): void {
    const { heads, passage } = this.#shown!;
    this.#heads.draw(head, heads[head], passage.size, passage.start + passage.size, this.#theme);
  }

  /** The chosen token, from the start of the passage. */
  get #row(): number {
    return this.#token! - this.#shown!.passage.start;
  }

  get #picture(): Picture | undefined {
    const view = this.#shown?.heads[this.#head];
    if (!this.#shown || !view) return undefined;
    const { start, size } = this.#shown.passage;
    return { head: this.#head, view, labels: this.#tokens.labels.slice(start, start + size) };
  }

  #drawMap(): void {
    element("map-title").textContent = `Heat map of the head “${HEADS[this.#head]!.name}”`;
    drawLegend(element("legend"), this.#head, this.#theme);
    const picture = this.#picture;
    this.#map.show(picture, this.#theme);
    if (!picture) return;
    const row = this.#row;
    const keys = [...Array(row + 1).keys(), EARLIER, SUNK];
    const key = greatest(keys, (one) => weightOf(picture, { row, key: one }));
    this.#map.moveTo({ row, key });
  }

  /** The chosen token: in the passage, its links, and in words. */
  #drawToken(): void {
    if (!this.#shown) return;
    const { passage, guesses } = this.#shown;
    const { tokens, labels } = this.#tokens;
    const token = this.#token!;
    this.#passage.pick(token - passage.start);
    this.#passage.foretell((i) => guesses?.[i - 1 - passage.start] === tokens[i] && i > passage.start);
    element("words-title").textContent = `${quote(labels[token]!)}, token ${number(token)}, looks at`;
    const guessed = guesses?.[token - passage.start];
    const guess = guesses && { word: guessed === undefined ? undefined : this.#names.get(guessed) };
    const top = this.#reading.top(passage, token, 3);
    const sentences = top.map((one, head) => sayTop(one, head, token, labels, guess));
    listSentences(element("words"), sentences);
    this.#sayCell(this.#map.cursor);
    this.#drawLinks(undefined);
  }

  /** Links of the token under the pointer, or else of the chosen one. */
  #drawLinks(hovered: number | undefined): void {
    const picture = this.#picture;
    if (!picture || !this.#shown) return;
    const { size } = this.#shown.passage;
    const from = hovered ?? this.#row;
    this.#passage.link(from, picture.view.weights.subarray(from * size, (from + 1) * size));
    element("links-note").textContent = sayLinks(picture, from);
  }

  async #drawImportance(breathe: () => Promise<void>): Promise<void> {
    const { passage, importances } = this.#shown!;
    const head = this.#head;
    importances[head] ??= await this.#reading.importance(passage, head, breathe);
    this.#passage.weigh(importances[head], head);
  }

  #chooseHead(head: number): void {
    this.#head = head;
    void this.#show();
  }

  #chooseToken(token: number): void {
    this.#token = this.#shown!.passage.start + token;
    this.#drawMap();
    this.#drawToken();
  }

  #point(cell: Cell | undefined, isChosen: boolean): void {
    if (!this.#shown) return;
    if (isChosen && cell && cell.row !== this.#row) {
      this.#token = this.#shown.passage.start + cell.row;
      this.#drawToken();
    }
    this.#sayCell(cell ?? this.#map.cursor);
    this.#drawLinks(cell?.row);
  }

  #sayCell(cell: Cell): void {
    const picture = this.#picture;
    if (!picture) return;
    this.#cell.textContent = sayCell(picture, cell, this.#shown!.passage.start);
  }

  #save(): void {
    const picture = this.#picture;
    if (!picture) return;
    saveCsv(toCsv(picture, this.#shown!.passage.start), `${HEADS[this.#head]!.name.replace(" ", "-")}.csv`);
  }
}
