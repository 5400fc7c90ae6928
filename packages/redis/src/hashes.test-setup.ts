// Context hashes as tests make them, pack them for a store, and read them back.

import {
  type Block,
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  contextHash,
  type MemberSet,
  type SegmentStore,
  shardOf,
} from "@rollcall/core";
import { NOTHING } from "./place.test-setup.js";

/** The hashes of as many different contexts. */
export function hashes(count: number): ContextHashes[] {
  return Array.from({ length: count }, (_, number) => contextHash(`person-${number}`) as ContextHashes);
}

/** In one array, sorted. */
export function packed(all: readonly ContextHashes[]): ContextHashes {
  return new Uint8Array(Buffer.concat(all.toSorted(Buffer.compare)));
}

/** One by one. */
export function unpacked(all: ContextHashes): ContextHashes[] {
  return Array.from({ length: all.length / CONTEXT_HASH_BYTES }, (_, index) =>
    all.subarray(index * CONTEXT_HASH_BYTES, (index + 1) * CONTEXT_HASH_BYTES),
  );
}

/** Blocks that add them, by shard. */
export function blocksOf(adds: readonly ContextHashes[], shardBits: number): Block[] {
  const shards = new Map<number, ContextHashes[]>();
  for (const hash of adds) {
    const shard = shardOf(hash, 0, shardBits);
    shards.set(shard, [...(shards.get(shard) ?? []), hash]);
  }
  const blocks = Array.from(shards, ([shard, own]) => ({ shard, adds: packed(own), removes: NOTHING }));
  return blocks.toSorted((a, b) => a.shard - b.shard);
}

/** The members of a set in hex, sorted; `onChunk` is called after each part of the scan. */
export async function membersOf(
  store: SegmentStore,
  set: MemberSet,
  onChunk: () => Promise<void> | void = () => {},
): Promise<string[]> {
  const members: string[] = [];
  for await (const chunk of store.scanMembers(set)) {
    members.push(...unpacked(chunk).map(hex));
    await onChunk();
  }
  return members.toSorted();
}

export function hex(hash: ContextHashes): string {
  return Buffer.from(hash).toString("hex");
}
