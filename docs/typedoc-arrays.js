// TypeScript's "Float32Array<ArrayBufferLike>", where heed's types say Float32Array, is written as they say it.
import { MarkdownPageEvent } from "typedoc-plugin-markdown";

/** @param {import("typedoc-plugin-markdown").MarkdownApplication} app */
export function load(app) {
  app.renderer.on(MarkdownPageEvent.END, (/** @type {MarkdownPageEvent} */ page) => {
    page.contents = page.contents
      ?.replaceAll(/(\w+Array|ArrayBufferView)<ArrayBufferLike>/g, "$1")
      .replaceAll(/`(\w+Array|ArrayBufferView)`\\<`ArrayBufferLike`\\>/g, "`$1`");
  });
}
