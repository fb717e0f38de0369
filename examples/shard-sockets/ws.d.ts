// What this example uses of ws. A project of your own takes @types/ws.
declare module "ws" {
  import type { EventEmitter } from "node:events";

  export class WebSocket extends EventEmitter {
    static readonly OPEN: number;
    readonly readyState: number;
    constructor(url: string, options?: { maxPayload?: number });
    send(data: Uint8Array): void;
    close(): void;
    terminate(): void;
  }

  export class WebSocketServer extends EventEmitter {
    constructor(options: { host: string; port: number; maxPayload?: number });
    address(): { port: number };
    close(): void;
  }
}
