// The largest sizes of a call: docs/attention.md states them. Every product of sizes is computed in doubles, so that none
// wraps before it is compared with what the data hold, and memory itself ends at 4 GiB.

/** Bytes of a linear memory. */
export const MAX_MEMORY = 2 ** 32;

/** Floats in a row of q, k, v or out. */
export const MAX_DIM = 2 ** 20;

/** Heads. */
export const MAX_HEADS = 2 ** 20;

/** Sequences of a batch. */
export const MAX_BATCH = 2 ** 30;

/** Keys of a sequence, and query rows that share a KV head: seqLenQ · numHeads / numKvHeads. */
export const MAX_ROWS = 2 ** 30;

/** Elements of an array of rows, heads or parts. */
export const MAX_ELEMENTS = 2 ** 20;
