// A place at the other end of a WebSocket, as its coordinator sees it: a call.
import { type ShardAnswer, type ShardRequest, decode, encode } from "heed/shard";
import { WebSocket } from "ws";

/** How long an answer may take. */
const PATIENCE_MS = 10_000;
/** Bytes of a message. */
const MOST_BYTES = 2 ** 25;

interface Waiting {
  resolve: (answer: ShardAnswer) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

export class Remote {
  readonly #url: string;
  #socket: WebSocket | undefined;
  /** Resolves when the socket is open. */
  #ready: Promise<void> = Promise.resolve();
  #asked = 0;
  readonly #waiting = new Map<number, Waiting>();
  /** Messages and bytes, there and back. */
  readonly traffic = { calls: 0, bytes: 0 };

  constructor(url: string) {
    this.#url = url;
  }

  /** Brings a request to the place; connects where there is no connection. Rejects where no answer comes. */
  call = async (request: ShardRequest): Promise<ShardAnswer> => {
    const socket = (this.#socket ??= this.#connect());
    await this.#ready;
    if (socket !== this.#socket) throw new Error("the connection was closed");
    const id = this.#asked++;
    const bytes = encode({ ...request, id });
    this.traffic.calls++;
    this.traffic.bytes += bytes.length;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(socket, new Error(`no answer in ${PATIENCE_MS} ms`)), PATIENCE_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      socket.send(bytes);
    });
  };

  close(): void {
    this.#socket?.close();
  }

  #connect(): WebSocket {
    const socket = new WebSocket(this.#url, { maxPayload: MOST_BYTES });
    socket.on("message", (data: Buffer) => this.#receive(socket, data));
    socket.on("close", () => this.#fail(socket, new Error("the connection was closed")));
    this.#ready = new Promise((resolve, reject) => {
      socket.on("open", resolve);
      socket.on("error", (error: Error) => {
        reject(error);
        this.#fail(socket, error);
      });
    });
    return socket;
  }

  #receive(socket: WebSocket, data: Buffer): void {
    this.traffic.bytes += data.length;
    try {
      const { id, ...answer } = decode(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      const waiting = this.#waiting.get(id as number);
      if (!waiting) return;
      this.#waiting.delete(id as number);
      clearTimeout(waiting.timer);
      waiting.resolve(answer as unknown as ShardAnswer);
    } catch (error) {
      this.#fail(socket, error as Error);
    }
  }

  /** Nobody will answer on this connection: the coordinator asks again, and so connects again. */
  #fail(socket: WebSocket, error: Error): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
    socket.terminate();
  }
}
