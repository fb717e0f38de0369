/** A worker, whatever the host calls its parts. */
export interface WorkerHandle {
  /** Sends the one message that a worker gets. */
  send(message: unknown): void;
  /** Ends the worker, whatever it is doing. */
  end(): void;
}

/** Called with the first answer, and once when the worker has ended or could not be started. */
export interface WorkerEvents {
  ready(): void;
  ended(reason: string): void;
}

interface NodeWorker {
  postMessage(message: unknown): void;
  terminate(): unknown;
  unref(): void;
  on(type: "message" | "error" | "exit", listener: (value: unknown) => void): void;
}
interface WebWorker {
  postMessage(message: unknown): void;
  terminate(): void;
  addEventListener(type: "message" | "error", listener: (event: { message?: string }) => void): void;
}
interface Globals {
  Worker?: new (url: string | URL, options: { type: "module" }) => WebWorker;
  crossOriginIsolated?: boolean;
  navigator?: { hardwareConcurrency?: number };
  process?: {
    getBuiltinModule?: {
      (name: "worker_threads"): { Worker: new (url: URL, options: object) => NodeWorker };
      (name: "os"): { availableParallelism(): number };
    };
  };
}

const globals = globalThis as Globals;
const builtin = globals.process?.getBuiltinModule;

/** Logical processors, as far as the host tells. */
export function processors(): number {
  return globals.navigator?.hardwareConcurrency ?? builtin?.("os").availableParallelism() ?? 1;
}

/** Why this host has no threads on shared memory; undefined where it may have them. */
export function whyNoThreads(): string | undefined {
  // Of a service worker and a worklet too, however they are served.
  if (!globals.Worker && !builtin) return "the host has no workers";
  if (globals.crossOriginIsolated === false) return "the page is not cross-origin isolated";
  if (typeof SharedArrayBuffer === "undefined") return "the host has no shared memory";
  return undefined;
}

/** Starts a worker from the text of a module, or from `url`. */
export function startWorker(source: string, url: string | URL | undefined, events: WorkerEvents): WorkerHandle {
  const data = `data:text/javascript,${encodeURIComponent(source)}`;
  // Deno and Bun have both kinds. Deno does not end a waiting worker of the web, which would keep the process alive.
  if (builtin) return startNodeWorker(new URL(url ?? data), events);
  if (url !== undefined) return startWebWorker([url], events);
  const blob = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  // A policy may allow one of the two alone.
  return startWebWorker([blob, data], {
    ready: () => {
      URL.revokeObjectURL(blob);
      events.ready();
    },
    ended: (reason) => {
      URL.revokeObjectURL(blob);
      events.ended(reason);
    },
  });
}

/** Tries one address after the other until a worker answers. */
function startWebWorker([url, ...others]: (string | URL)[], events: WorkerEvents): WorkerHandle {
  let isReady = false;
  let next: WorkerHandle | undefined;
  let sent: unknown;
  const failed = (reason: string): void => {
    if (isReady || others.length === 0) {
      events.ended(reason);
      return;
    }
    next = startWebWorker(others, events);
    if (sent !== undefined) next.send(sent);
  };
  let worker: WebWorker;
  try {
    worker = new globals.Worker!(url!, { type: "module" });
  } catch (error) {
    queueMicrotask(() => failed(String(error)));
    return { send: (message) => void (sent = message), end: () => next?.end() };
  }
  worker.addEventListener("message", () => {
    isReady = true;
    events.ready();
  });
  worker.addEventListener("error", ({ message }) => {
    worker.terminate();
    failed(message || "the host refused the worker: see worker-src of its Content-Security-Policy");
  });
  return {
    send: (message) => {
      sent = message;
      worker.postMessage(message);
    },
    end: () => {
      worker.terminate();
      next?.end();
    },
  };
}

function startNodeWorker(url: URL, events: WorkerEvents): WorkerHandle {
  const { Worker } = builtin!("worker_threads");
  const worker = new Worker(url, { execArgv: [], stdin: false, name: "heed" });
  worker.on("message", () => {
    // From now on a process that has nothing else to do may end.
    worker.unref();
    events.ready();
  });
  worker.on("error", (error) => events.ended(String(error)));
  worker.on("exit", () => events.ended("the worker ended"));
  return { send: (message) => worker.postMessage(message), end: () => void worker.terminate() };
}
