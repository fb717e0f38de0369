import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface Site {
  url: string;
  close(): void;
}

const PAGE = `<!doctype html><meta charset="utf-8"><title>heed</title><script type="module" src="/page.js"></script>`;

/**
 * A page that runs one script, on this machine alone. It is cross-origin isolated, so that it may have threads.
 *
 * @param files by their paths, `/page.js` among them
 */
export async function servePage(files: Readonly<Record<string, string>>): Promise<Site> {
  const isolated = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
  const server = createServer((request, response) => {
    const file = files[request.url ?? ""];
    if (request.url === "/") response.writeHead(200, { ...isolated, "Content-Type": "text/html" }).end(PAGE);
    else if (file === undefined) response.writeHead(404).end();
    else {
      readFile(file).then(
        (bytes) => response.writeHead(200, { ...isolated, "Content-Type": "text/javascript" }).end(bytes),
        () => response.writeHead(404).end(),
      );
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
