// What a write of blocks comes to: computed from the records as they are, completely, before the first record is changed.

import { type Block, type ContextHashes, concatHashes, hashCount, type MemberSet, shardOf } from "@rollcall/core";
import type { Database } from "lmdb";
import { putRecord, recordKey } from "./member-records.js";
import {
  groupBitsOf,
  groupKey,
  groupOf,
  markUsed,
  mayHaveRecent,
  mostRecent,
  overlaysByShard,
  readRecent,
  usedShardBits,
} from "./recent-changes.js";
import type { Overlay, ShardChanger } from "./shard-change.js";
import { findContext, listNumberAt, openRecord, setsAt } from "./shard-record.js";
import type { Tables } from "./shared-environment.js";

/** Fewer blocks than this touch about as many pages either way, and are written where lookups find them at once. */
const SCATTERED_BLOCKS = 16;
/** With more changes than this for each block, most pages of the shard records that are touched are rewritten for good reason. */
const SCATTERED_CHANGES = 4;

/** Records to store. Valid until the changer is recycled. */
export interface BlockPlan {
  readonly added: number;
  readonly removed: number;
  /** Stores the records; nothing in it refuses. */
  store(): void;
}

/** Plans the change of `set` by `blocks`, inside a transaction. @throws `corrupt_data`. */
export function planBlocks(
  tables: Tables,
  set: MemberSet,
  blocks: readonly Block[],
  dropped: ReadonlySet<number>,
  changer: ShardChanger,
): BlockPlan {
  const { shardBits } = set;
  const plan = createPlan(tables, set, dropped, changer);
  const used = mayHaveRecent(usedShardBits(tables), shardBits);
  const isScattered = blocks.length >= SCATTERED_BLOCKS && changeCount(blocks) <= SCATTERED_CHANGES * blocks.length;
  if (!used && !isScattered) {
    plan.changeRecords(blocks);
    return plan;
  }
  for (const [group, ofGroup] of byGroup(blocks, shardBits)) {
    const record = used ? plan.recentRecord(group) : undefined;
    const present = record === undefined ? 0 : openRecord(record, record.length, groupBitsOf(shardBits)).contexts;
    const isFull = present + changeCount(ofGroup) > mostRecent(group, shardBits);
    if (isScattered && !isFull) plan.addRecent(group, record, ofGroup);
    else if (record === undefined) plan.changeRecords(ofGroup);
    else if (isFull) plan.foldAll(group, record, ofGroup);
    else plan.foldShards(group, record, ofGroup);
  }
  return plan;
}

/** Plans folding everything recent in `groups` into the shard records. @throws `corrupt_data`. */
export function planFolding(
  tables: Tables,
  shardBits: number,
  groups: readonly number[],
  dropped: ReadonlySet<number>,
  changer: ShardChanger,
): BlockPlan {
  const plan = createPlan(tables, { id: 0, shardBits }, dropped, changer);
  for (const group of groups) {
    const record = plan.recentRecord(group);
    if (record !== undefined) plan.foldAll(group, record, []);
  }
  return plan;
}

function createPlan(
  tables: Tables,
  { id, shardBits }: { readonly id: number; readonly shardBits: number },
  dropped: ReadonlySet<number>,
  changer: ShardChanger,
) {
  const { members, recent } = tables;
  const groupBits = groupBitsOf(shardBits);
  const puts: { readonly table: Database<Uint8Array, number>; readonly key: number; readonly bytes: Uint8Array }[] = [];
  let added = 0;
  let removed = 0;
  let scattered = false;
  changer.recycle();

  return {
    get added() {
      return added;
    },
    get removed() {
      return removed;
    },
    recentRecord,
    addRecent,
    foldAll,
    foldShards,
    changeRecords,
    store,
  };

  /** A copy, because more is read while it is in use. */
  function recentRecord(group: number): Uint8Array | undefined {
    return recent.getBinary(groupKey(shardBits, group));
  }

  /** The change goes to the record of the group. */
  function addRecent(group: number, record: Uint8Array | undefined, blocks: readonly Block[]): void {
    const sorted = blocks.toSorted((a, b) => a.shard - b.shard);
    const change = changer.apply(record, record?.length ?? 0, {
      shardBits: groupBits,
      id,
      adds: concatHashes(sorted.map(({ adds }) => adds)),
      removes: concatHashes(sorted.map(({ removes }) => removes)),
      dropped,
      setsElsewhere: setsInRecords,
      keepEmpty: true,
    });
    added += change.added;
    removed += change.removed;
    if (!change.changed) return;
    puts.push({ table: recent, key: groupKey(shardBits, group), bytes: change.bytes });
    scattered = true;
  }

  /** What the shard record says of a context. */
  function setsInRecords(hashes: ContextHashes, index: number): readonly number[] {
    const record = members.getBinaryFast(recordKey(shardBits, shardOf(hashes, index, shardBits)));
    if (record === undefined) return [];
    const parts = openRecord(record, record.length, shardBits);
    const position = findContext(record, parts, hashes, index);
    return position < 0 ? [] : setsAt(record, parts, listNumberAt(record, parts, position));
  }

  /** The change goes to the shard records, and before it everything that is recent in the group. */
  function foldAll(group: number, record: Uint8Array, blocks: readonly Block[]): void {
    const overlays = overlaysByShard(readRecent(record, record.length, shardBits, group, dropped), shardBits);
    foldInto(overlays, blocks);
    puts.push({ table: recent, key: groupKey(shardBits, group), bytes: new Uint8Array() });
  }

  /** The change goes to the shard records, and before it what is recent in these shards; the rest of the group stays. */
  function foldShards(group: number, record: Uint8Array, blocks: readonly Block[]): void {
    const overlays = overlaysByShard(readRecent(record, record.length, shardBits, group, dropped), shardBits);
    const shards = new Set(blocks.map(({ shard }) => shard));
    for (const shard of overlays.keys()) if (!shards.has(shard)) overlays.delete(shard);
    foldInto(overlays, blocks);
    if (overlays.size === 0) return;
    let rest = record;
    for (const overlay of overlays.values()) {
      if (rest.length > 0)
        rest = changer.overlay(
          rest,
          rest.length,
          groupBits,
          { ...overlay, setsOf: () => [], keepEmpty: true },
          dropped,
        );
    }
    puts.push({ table: recent, key: groupKey(shardBits, group), bytes: rest });
  }

  function foldInto(overlays: ReadonlyMap<number, Overlay>, blocks: readonly Block[]): void {
    const changes = new Map(blocks.map((block) => [block.shard, block]));
    for (const [shard, overlay] of overlays) {
      const key = recordKey(shardBits, shard);
      const old = members.getBinaryFast(key);
      const bytes = changer.overlay(old, old?.length ?? 0, shardBits, overlay, dropped);
      const block = changes.get(shard);
      changes.delete(shard);
      puts.push({ table: members, key, bytes: block === undefined ? bytes : changed(bytes, block) });
    }
    changeRecords([...changes.values()]);
  }

  /** `record` after `block`. */
  function changed(record: Uint8Array, { adds, removes }: Block): Uint8Array {
    const old = record.length === 0 ? undefined : record;
    const change = changer.apply(old, record.length, { shardBits, id, adds, removes, dropped });
    added += change.added;
    removed += change.removed;
    return change.changed ? change.bytes : record;
  }

  function changeRecords(blocks: readonly Block[]): void {
    for (const { shard, adds, removes } of blocks) {
      const key = recordKey(shardBits, shard);
      const record = members.getBinaryFast(key);
      const change = changer.apply(record, record?.length ?? 0, { shardBits, id, adds, removes, dropped });
      added += change.added;
      removed += change.removed;
      if (change.changed) puts.push({ table: members, key, bytes: change.bytes });
    }
  }

  function store(): void {
    if (scattered) markUsed(tables, shardBits);
    for (const { table, key, bytes } of puts) putRecord(table, key, bytes);
  }
}

function byGroup(blocks: readonly Block[], shardBits: number): Map<number, Block[]> {
  const groups = new Map<number, Block[]>();
  for (const block of blocks) {
    const group = groupOf(block.shard, shardBits);
    const ofGroup = groups.get(group);
    if (ofGroup === undefined) groups.set(group, [block]);
    else ofGroup.push(block);
  }
  return groups;
}

function changeCount(blocks: readonly Block[]): number {
  let count = 0;
  for (const { adds, removes } of blocks) count += hashCount(adds) + hashCount(removes);
  return count;
}
