// What this example uses of Cloudflare's types. A project of your own has them all from `wrangler types`.
declare module "cloudflare:workers" {
  export class DurableObject<Env = unknown> {
    protected ctx: DurableObjectState;
    protected env: Env;
    constructor(ctx: DurableObjectState, env: Env);
  }

  export interface DurableObjectState {
    storage: DurableObjectStorage;
    id: { name?: string };
    abort(reason?: string): void;
  }

  export interface DurableObjectStorage {
    sql: {
      exec(query: string, ...bindings: unknown[]): Iterable<Record<string, unknown>>;
    };
    transactionSync<Result>(task: () => Result): Result;
  }

  export interface DurableObjectNamespace<Class> {
    /** The object of this name. Its methods are called by RPC. */
    getByName(name: string): Class;
  }
}
