// Recent changes: small changes that are scattered over an environment do not go to the shard records, where each would cost
// a page of 4,096 bytes, but to a record for a group of neighbouring shards. There a context stands with all the sets it
// is in, and that counts instead of what its shard record says. When a group has gathered enough of them they are folded
// into its shard records, many to a page. The records have the format of shard records, with the bits of the group; a
// context that is in no set any more has an empty list.

import { type ContextHashes, hashCount, shardOf } from "@rollcall/core";
import { recordKey } from "./member-records.js";
import type { Overlay } from "./shard-change.js";
import { contextsOf, listNumberAt, listsOf, openRecord } from "./shard-record.js";
import type { Tables } from "./shared-environment.js";

/** At least 64 shards to a group, and at most 512. */
const FEWEST_SHARDS_BITS = 6;
const MOST_SHARDS_BITS = 9;
/** About 1,000 groups as long as that allows: a delta then touches as many records of groups however large the set is. */
const GROUPS_BITS = 10;

/** The leading bits that name the group of a set's shards. */
export function groupBitsOf(shardBits: number): number {
  return Math.max(0, Math.min(shardBits - FEWEST_SHARDS_BITS, Math.max(GROUPS_BITS, shardBits - MOST_SHARDS_BITS)));
}

/** The group that `shard` is in. */
export function groupOf(shard: number, shardBits: number): number {
  return shard >>> (shardBits - groupBitsOf(shardBits));
}

/** The shards of `group`: the first one, and the one behind the last. */
export function shardsOf(group: number, shardBits: number): { readonly first: number; readonly end: number } {
  const shift = shardBits - groupBitsOf(shardBits);
  return { first: group << shift, end: (group + 1) << shift };
}

/** The key of the record of `group`. Sets of different shardBits have groups of their own. */
export function groupKey(shardBits: number, group: number): number {
  return recordKey(shardBits, group);
}

/**
 * How many contexts a group's record may hold: two to three for each of its shards. Groups differ, because they fill up at the same pace
 * and would all be folded by the same write.
 */
export function mostRecent(group: number, shardBits: number): number {
  const shards = 1 << (shardBits - groupBitsOf(shardBits));
  return 2 * shards + ((Math.imul(group, 0x9e3779b1) >>> 8) % shards);
}

/** The contexts of a group's record, with the sets they are in, without those in `dropped`. */
export interface RecentContexts {
  readonly hashes: ContextHashes;
  setsOf(index: number): readonly number[];
}

/** Reads a group's record. Its bytes are needed no longer afterwards. @throws `corrupt_data`. */
export function readRecent(
  record: Uint8Array,
  length: number,
  shardBits: number,
  group: number,
  dropped: ReadonlySet<number>,
): RecentContexts {
  const bits = groupBitsOf(shardBits);
  const parts = openRecord(record, length, bits);
  const lists = listsOf(record, parts).map((ids) => ids.filter((id) => !dropped.has(id)));
  const numbers = Array.from({ length: parts.contexts }, (_, position) => listNumberAt(record, parts, position));
  return {
    hashes: contextsOf(record, parts, group, bits, () => true),
    setsOf: (index) => lists[numbers[index] ?? -1] ?? [],
  };
}

/** The part of `recent` that belongs to each shard, in order. */
export function overlaysByShard(recent: RecentContexts, shardBits: number): Map<number, Overlay> {
  const overlays = new Map<number, Overlay>();
  const count = hashCount(recent.hashes);
  for (let from = 0, to = 0; from < count; from = to) {
    const shard = shardOf(recent.hashes, from, shardBits);
    for (to = from; to < count && shardOf(recent.hashes, to, shardBits) === shard; ) to++;
    overlays.set(shard, { ...recent, from, to });
  }
  return overlays;
}

// Which shardBits have recent changes is kept as bits of one number, so that lookups need not search for what is not there.
const usedKey = 1;

/** A number with bit `shardBits` set for each shardBits that may have recent changes. */
export function usedShardBits({ recent }: Tables): number {
  const mask = recent.getBinaryFast(usedKey);
  if (mask === undefined) return 0;
  return (
    ((mask[0] as number) | ((mask[1] as number) << 8) | ((mask[2] as number) << 16) | ((mask[3] as number) << 24)) >>> 0
  );
}

/** Whether `used` names `shardBits`. */
export function mayHaveRecent(used: number, shardBits: number): boolean {
  return ((used >>> shardBits) & 1) === 1;
}

/** Notes inside a transaction that `shardBits` has recent changes from now on. */
export function markUsed(tables: Tables, shardBits: number): void {
  putUsed(tables, usedShardBits(tables) | (1 << shardBits));
}

/** Notes inside a transaction that `shardBits` has none any more. */
export function markUnused(tables: Tables, shardBits: number): void {
  putUsed(tables, usedShardBits(tables) & ~(1 << shardBits));
}

function putUsed(tables: Tables, mask: number): void {
  if (mask >>> 0 === usedShardBits(tables)) return;
  const bytes = Uint8Array.of(mask, mask >>> 8, mask >>> 16, mask >>> 24);
  void tables.recent.put(usedKey, bytes);
}
