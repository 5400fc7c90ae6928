// Where shard records are kept: one number names a record, so that records of one shardBits stand together, shard by shard.

import type { Database } from "lmdb";

/** 2^24: more than any shard. */
const SHARDS = 0x100_0000;

/** The key of a record. Never 0, which LMDB's wrapper would take for no key. */
export function recordKey(shardBits: number, shard: number): number {
  return (shardBits + 1) * SHARDS + shard;
}

/** The shard of the record named `key`. */
export function shardOfKey(key: number): number {
  return key % SHARDS;
}

/** The keys of all records of `shardBits`: `start` is the first, `end` is behind the last. */
export function recordKeys(shardBits: number): { readonly start: number; readonly end: number } {
  return { start: recordKey(shardBits, 0), end: recordKey(shardBits + 1, 0) };
}

/** Stores a record inside a transaction, or removes it where it holds no context any more. */
export function putRecord(members: Database<Uint8Array, number>, key: number, bytes: Uint8Array): void {
  // Inside a transaction both take effect at once; a failure is thrown, or fails the commit.
  if (bytes.length === 0) void members.remove(key);
  else void members.put(key, bytes);
}
