// Sample data for the checks: hashes, blocks, fences, segment records, reports.

import { randomUUID } from "node:crypto";
import {
  type Block,
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  type ContextKind,
  concatHashes,
  contextHash,
  type Fence,
  hashAt,
  hashCount,
  LAYOUT_VERSION,
  type MemberChanges,
  type MemberSet,
  type Segment,
  type SegmentKey,
  type SegmentStore,
  type SyncReport,
  shardOf,
} from "@rollcall/core";

/** A segment key; the checks only use valid ones. */
export const keyOf = (name: string) => name as SegmentKey;

/** The hash of sample member `n`. */
export function sampleHash(n: number): ContextHashes {
  return contextHash(`sample-${n}`) as ContextHashes;
}

/** A hash that lies in `shard` of `shardBits`, the `n`-th of them. */
export function hashInShard(shard: number, shardBits: number, n: number): ContextHashes {
  const hash = Buffer.from(sampleHash(n));
  const leading = hash.readUIntBE(0, 3) & ((1 << (24 - shardBits)) - 1);
  hash.writeUIntBE(((shard << (24 - shardBits)) | leading) >>> 0, 0, 3);
  return hash;
}

/** Sorts hashes and drops repeats. */
export function packed(hashes: readonly ContextHashes[]): ContextHashes {
  const sorted = [...hashes].sort(Buffer.compare);
  return concatHashes(sorted.filter((hash, i) => i === 0 || Buffer.compare(hash, sorted[i - 1] as Uint8Array) !== 0));
}

/** Sample members `from` to `to` (not included), packed. */
export function sampleHashes(from: number, to: number): ContextHashes {
  return packed(Array.from({ length: to - from }, (_, i) => sampleHash(from + i)));
}

/** No hashes. */
export const NO_HASHES: ContextHashes = new Uint8Array();

/** Cuts changes into blocks as core does. Both arguments are packed. */
function blocksOf(set: MemberSet, adds: ContextHashes, removes: ContextHashes = NO_HASHES): Block[] {
  const shards = new Map<number, { adds: ContextHashes[]; removes: ContextHashes[] }>();
  for (const [list, hashes] of [
    ["adds", adds],
    ["removes", removes],
  ] as const) {
    for (let i = 0; i < hashCount(hashes); i++) {
      const shard = shardOf(hashes, i, set.shardBits);
      const block = shards.get(shard) ?? { adds: [], removes: [] };
      shards.set(shard, block);
      block[list].push(hashAt(hashes, i));
    }
  }
  return Array.from(shards, ([shard, block]) => ({
    shard,
    adds: concatHashes(block.adds),
    removes: concatHashes(block.removes),
  })).sort((a, b) => a.shard - b.shard);
}

/** Writes changes in windows of the size that the store declares, one after the other. */
export async function write(
  store: SegmentStore,
  set: MemberSet,
  fence: Fence,
  adds: ContextHashes,
  removes: ContextHashes = NO_HASHES,
): Promise<MemberChanges> {
  const { maxBlocks, maxMembers } = store.capabilities.window;
  let changes: MemberChanges = { added: 0, removed: 0 };
  const window: Block[] = [];
  let members = 0;
  const flush = async () => {
    if (window.length === 0) return;
    try {
      const { added, removed } = await store.writeBlocks(set, window, fence);
      changes = { added: changes.added + added, removed: changes.removed + removed };
    } finally {
      // As core does: no store may need it any more.
      window.length = 0;
      members = 0;
    }
  };
  for (const block of blocksOf(set, adds, removes)) {
    const size = hashCount(block.adds) + hashCount(block.removes);
    if (window.length === maxBlocks || members + size > maxMembers) await flush();
    window.push(block);
    members += size;
  }
  await flush();
  return changes;
}

/** A fence of segment `audience`. */
export function fenceOf(token: number, holder = "writer-a", more: Partial<Fence> = {}): Fence {
  return { segmentKey: keyOf("audience"), generation: 1, holder, token, ...more };
}

/** Everything that a scan yields, as sorted hex, repeats kept. */
export async function scanned(store: SegmentStore, set: MemberSet): Promise<string[]> {
  const members: string[] = [];
  for await (const chunk of store.scanMembers(set)) members.push(...hexOf(chunk));
  return members.sort();
}

/** Packed hashes as hex. */
export function hexOf(hashes: ContextHashes): string[] {
  return Array.from({ length: hashes.byteLength / CONTEXT_HASH_BYTES }, (_, i) =>
    Buffer.from(hashAt(hashes, i)).toString("hex"),
  );
}

/** The ids that each hash is in, sorted. */
export async function found(
  store: SegmentStore,
  hashes: ContextHashes,
  among: readonly MemberSet[],
): Promise<number[][]> {
  const answers = await store.findMemberSets(hashes, among);
  return answers.map((ids) => [...ids].sort((a, b) => a - b));
}

/** A segment record with a fresh revision. */
export function sampleSegment(key: string, more: Partial<Segment> = {}): Segment {
  return {
    layout: LAYOUT_VERSION,
    key: keyOf(key),
    contextKind: "user" as ContextKind,
    generation: 1,
    revision: randomUUID() as Segment["revision"],
    state: "live",
    details: {},
    lease: { token: 0, expiresAt: 0 },
    included: { count: { value: 0, exact: true } },
    excluded: { count: { value: 0, exact: true } },
    staged: [],
    retired: [],
    positions: [],
    recentSyncs: [],
    recentSyncIds: [],
    createdAt: 1,
    updatedAt: 1,
    ...more,
  };
}

/** A report whose `received` tells it from others. */
export function sampleReport(key: string, received: number): SyncReport {
  const exact = (value: number) => ({ value, exact: true });
  return {
    segmentKey: keyOf(key),
    contextKind: "user" as ContextKind,
    mode: "merge",
    lists: ["included"],
    outcome: "applied",
    received,
    duplicates: 0,
    rejected: { count: 1, listed: [{ position: 0, reason: "empty" }] },
    added: exact(received),
    removed: exact(0),
    unchanged: { value: 0, exact: false },
    members: { included: exact(received), excluded: exact(0) },
    group: 1,
    startedAt: 1_700_000_000_000,
    durationMs: 1.5,
  };
}
