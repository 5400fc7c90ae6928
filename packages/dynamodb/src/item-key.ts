// The layout: which items there are, and how large they become. By set, one item for each block; all blocks of one shard have one
// partition key, so that one Query reads what a lookup asks.
//
// A write is charged by 1 KB of the whole item, a Query by 4 KB of all that it reads (half of that where it may be eventual), and
// names of attributes count (docs.aws.amazon.com/amazondynamodb/latest/developerguide, "DynamoDB item sizes and formats" and "read
// and write operations"). So names have one letter, and a member is stored without the whole bytes that its shard tells: 15 bytes
// from 8 bits on, 14 from 16.
//
// | part of a block's item | bytes |
// |---|---|
// | `p`: environment 8, bits 1, shard 3 | 1 + 12 |
// | `s`: set | 1 + 4 |
// | `f`: token 7, digest of the holder 8 | 1 + 15 |
// | `m`: the members, a binary set | 1 + 15 each |
//
// At a million contexts shards are cut by 14 bits, for 61 contexts each. A set of 10% has 6.1 of them in a block: one write unit for
// 6.1 members, and blocks of a hundred such sets have 100 × (35 + 6.1 × 15) = 12.6 KB, which one Query reads for 2 units (eventual).
// A set of all contexts would have 61 in a block, on average 950 bytes, and one block in four above 1 KB; so it is cut by one bit more:
// 30.5 members, 493 bytes, and a change costs one unit. Growth comes at four times as much: 160 members, 2.4 KB, 3 units.

import { createHash } from "node:crypto";
import {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  type EnvironmentName,
  type Fence,
  hashAt,
  hashCount,
  type MemberSet,
  type MemberSetId,
  type SegmentKey,
  type SetSizes,
  shardBitsFor,
} from "@rollcall/core";

/** Contexts of the environment that a shard has at most on average: so one Query over a hundred sets of 10% stays below 16 KB. */
const CONTEXTS_PER_SHARD = 64;
/** Members of one set that a block has at most on average: far enough from the 66 that fit into 1 KB that chance does not get there. */
const MOST_MEMBERS_PER_BLOCK = 40;
/**
 * Members that a block has at least on average: a scan and a drop go by blocks. Sets that are too small for the shards of the
 * environment go by steps of three bits, 2 to 16 members in a block, so that there are few sizes, each of which costs a lookup a Query.
 */
const FEWEST_MEMBERS_PER_BLOCK = 2;
const BITS_PER_STEP = 3;

/** Bytes of a block's item without its members: all of the table above but the members. */
export const BLOCK_BYTES = 1 + 12 + (1 + 4) + (1 + 15) + 1;

/** Bytes that are charged as one unit of a write. */
export const WRITE_UNIT_BYTES = 1_024;

/** Bytes of one member in a block of a set that is cut by so many bits. */
export function memberBytes(shardBits: number): number {
  return CONTEXT_HASH_BYTES - (shardBits >>> 3);
}

/** See `SegmentStore.chooseShardBits`. */
export function chooseShardBits({ members, contexts }: SetSizes): number {
  const blocks = Math.max(1, members / FEWEST_MEMBERS_PER_BLOCK);
  const step = Math.floor(Math.log2(blocks) / BITS_PER_STEP) * BITS_PER_STEP;
  const byContexts = Math.min(step, shardBitsFor(contexts, CONTEXTS_PER_SHARD));
  return Math.max(byContexts, shardBitsFor(members, MOST_MEMBERS_PER_BLOCK));
}

/** The key of an item. */
export interface ItemKey {
  /** The partition key. */
  readonly p: Uint8Array;
  /** The sort key. */
  readonly s: Uint8Array;
}

// What is no block has a byte that no number of bits is.
const REGISTRY = 0x40;
const SEGMENTS = 0x41;
const SETS = 0x42;
const HISTORY = 0x43;
const PAGES = 0x44;

/** The keys of one environment's items. */
export function itemKeys(environment: EnvironmentName) {
  // Two names of one digest would be found out by the environment record, which has the name.
  const tag = createHash("sha256").update(environment).digest().subarray(0, 8);
  const partition = (kind: number, rest: Uint8Array = Buffer.alloc(0)) => Buffer.concat([tag, Buffer.of(kind), rest]);
  const shard = (shardBits: number, number: number) => partition(shardBits, bigEndian(number, 3));
  const registry = partition(REGISTRY);
  const segments = partition(SEGMENTS);
  const sets = partition(SETS);
  const epochKey = (number: number): ItemKey => ({ p: registry, s: Buffer.concat([EPOCH_PREFIX, Buffer.of(number)]) });
  return {
    environment: { p: registry, s: Buffer.from("environment") },
    lastSet: { p: registry, s: Buffer.from("last set") },
    /** One of a few, by segment: with one for all, writes of different segments would be in each other's way. */
    epoch: (key: SegmentKey): ItemKey => epochKey((createHash("sha256").update(key).digest()[0] ?? 0) % EPOCHS),
    epochs: Array.from({ length: EPOCHS }, (_, number) => epochKey(number)),
    segments,
    segment: (key: SegmentKey): ItemKey => ({ p: segments, s: Buffer.from(key) }),
    sets,
    set: (id: MemberSetId): ItemKey => ({ p: sets, s: setSortKey(id) }),
    pages: (id: MemberSetId, item: number): ItemKey => ({ p: partition(PAGES, setSortKey(id)), s: bigEndian(item, 2) }),
    history: (key: SegmentKey) => partition(HISTORY, Buffer.from(key)),
    shard,
    block: ({ id, shardBits }: MemberSet, number: number): ItemKey => ({
      p: shard(shardBits, number),
      s: setSortKey(id),
    }),
  };
}

export type ItemKeys = ReturnType<typeof itemKeys>;

/** What the sort keys of epochs begin with, and how many there are. */
export const EPOCH_PREFIX = Buffer.from("epoch ");
const EPOCHS = 16;

/** The sort key of a set, in the order of its number. */
export function setSortKey(id: MemberSetId): Uint8Array {
  return bigEndian(id, 4);
}

/** The number in a key or a part of one. */
export function numberIn(bytes: Uint8Array): number {
  return Buffer.from(bytes).readUIntBE(0, bytes.length);
}

/** `value` in so many bytes: in the order of bytes as in that of numbers. */
export function bigEndian(value: number, bytes: number): Uint8Array {
  const target = Buffer.alloc(bytes);
  target.writeUIntBE(value, 0, bytes);
  return target;
}

/** A fence as a block has it: in the order of tokens, and one token the same only for the same writer. */
export function fenceMark({ token, holder, segmentKey, generation }: Fence): { mark: Uint8Array; token: Uint8Array } {
  const writer = JSON.stringify([holder, segmentKey, generation]);
  const ordered = tokenBytes(token);
  return {
    mark: Buffer.concat([ordered, createHash("sha256").update(writer).digest().subarray(0, 8)]),
    token: ordered,
  };
}

/** A token in 7 bytes, which is room for 2^53. */
export function tokenBytes(token: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(token));
  return bytes.subarray(1);
}

/** The shard in the partition key of a block. */
export function shardIn(p: Uint8Array): { shardBits: number; shard: number } {
  return { shardBits: p.at(-4) ?? 0, shard: numberIn(p.subarray(-3)) };
}

/** The members as a block has them: without the whole bytes that its shard tells. */
export function shortened(hashes: ContextHashes, shardBits: number): Uint8Array[] {
  const known = shardBits >>> 3;
  return Array.from({ length: hashCount(hashes) }, (_, index) => hashAt(hashes, index).subarray(known));
}

/** The whole hashes of what a block of `shard` has, sorted. */
export function restored(members: Iterable<Uint8Array>, { shardBits }: MemberSet, shard: number): ContextHashes {
  const known = shardBits >>> 3;
  const leading = bigEndian(shard * 2 ** (24 - shardBits), 3).subarray(0, known);
  const sorted = Array.from(members, (rest) => Buffer.concat([leading, rest])).sort(Buffer.compare);
  const hashes = new Uint8Array(sorted.length * CONTEXT_HASH_BYTES);
  for (const [index, hash] of sorted.entries()) hashes.set(hash, index * CONTEXT_HASH_BYTES);
  return hashes;
}
