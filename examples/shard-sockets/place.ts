// A process that has one place of the cache, and answers over WebSocket: npm run place -- --port 7001 --folder place-1
// Who can connect can read and change the tokens: it listens on 127.0.0.1 unless --host says otherwise.
import { parseArgs } from "node:util";
import { load } from "heed";
import { Shard, decode, encode } from "heed/shard";
import { type WebSocket, WebSocketServer } from "ws";
import { FileStore } from "../shard-threads/file-store.ts";

/** Bytes of a message. */
export const MOST_BYTES = 2 ** 25;

const { values } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "7001" },
    folder: { type: "string", default: "place" },
  },
});
const shard = new Shard(await load(), { store: new FileStore(values.folder) });
const server = new WebSocketServer({ host: values.host, port: Number(values.port), maxPayload: MOST_BYTES });
server.on("connection", (socket: WebSocket) => {
  // One that sends what is too large or no frame is cut off.
  socket.on("error", () => socket.terminate());
  socket.on("message", (data: Buffer) => void answer(socket, data));
});
server.on("listening", () => console.log(`place of ${values.folder} on ws://${values.host}:${server.address().port}`));

async function answer(socket: WebSocket, data: Buffer): Promise<void> {
  let message: Record<string, unknown>;
  try {
    message = decode(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  } catch {
    socket.terminate();
    return;
  }
  // The number of the request goes back with its answer.
  const { id, ...request } = message;
  socket.send(encode({ ...(await shard.handle(request)), id }));
}
