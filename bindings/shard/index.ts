/**
 * Exact attention over a KV cache that is cut over places: threads, processes, machines, Durable Objects. A
 * {@link ShardedCache} asks the {@link Shard} at each place, by any transport, and merges what they answer.
 *
 * @module heed/shard
 */
export type { Cut } from "./geometry.ts";
export type {
  AppendRequest,
  AttendRequest,
  Change,
  OpenRequest,
  ScoreOptions,
  ShardAnswer,
  ShardRequest,
  ShardShape,
  ShardState,
  TruncateRequest,
} from "./messages.ts";
export type { ShardedAttentionOptions, ShardedCacheOptions } from "./options.ts";
export { type Call, ShardError, type ShardFault } from "./place.ts";
export { Shard, type ShardOptions } from "./shard.ts";
export { ShardedCache, type ShardedResult } from "./sharded-cache.ts";
export type { ShardStore, Stored } from "./store.ts";
export { decode, encode } from "./wire.ts";
