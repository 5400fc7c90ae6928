// Removing the members of dropped sets: a pass over the shard records in slices, each a short transaction of its own.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { MemberSet, MemberSetId } from "@rollcall/core";
import { planFolding } from "./block-plan.js";
import { putRecord, recordKeys, shardOfKey } from "./member-records.js";
import { markUnused } from "./recent-changes.js";
import { droppedRecords } from "./registry-key.js";
import type { ShardChanger } from "./shard-change.js";
import { namesAny, openRecord } from "./shard-record.js";
import type { Tables } from "./shared-environment.js";

/** How long one slice may hold the event loop, and the most records that it changes, in one transaction. */
const SLICE_MS = 8;
const SLICE_RECORDS = 1_024;
/** Groups of recent changes that one transaction folds: 64 shard records each. */
const FOLDED_GROUPS = 32;

/** The member sets that wait for a pass. */
export function listDropped({ registry }: Tables): MemberSet[] {
  return Array.from(registry.getRange(droppedRecords), ({ key, value }) => ({
    id: Number(key[1]) as MemberSetId,
    shardBits: Number(value),
  }));
}

/** What a pass needs of the store. */
export interface PassAccess {
  readonly freshTables: () => Tables;
  readonly write: <T>(change: (tables: Tables) => T) => Promise<T>;
  readonly changer: ShardChanger;
}

const nothing = new Uint8Array();

/**
 * Strips `ids` from every record of `shardBits`. New members of these sets cannot appear meanwhile, because their fences are
 * gone; so records are searched without the writer's lock, and only those that name one of the sets are written.
 */
export async function stripSets(shardBits: number, ids: ReadonlySet<number>, access: PassAccess): Promise<void> {
  await foldRecent(shardBits, ids, access);
  const { start, end } = recordKeys(shardBits);
  for (let next = start; next < end; ) {
    const slice = findRecords(access.freshTables(), next, end, shardBits, ids);
    next = slice.next;
    if (slice.keys.length > 0)
      await access.write((tables) => stripRecords(tables, slice.keys, shardBits, ids, access.changer));
    else await nextTurn();
  }
}

/** Folds what is recent into the shard records: a pass touches most of them anyway, and lookups are quicker after it. */
async function foldRecent(shardBits: number, ids: ReadonlySet<number>, access: PassAccess): Promise<void> {
  const { start, end } = recordKeys(shardBits);
  const keys = Array.from(access.freshTables().recent.getKeys({ start, end }));
  for (let from = 0; from < keys.length; from += FOLDED_GROUPS) {
    const groups = keys.slice(from, from + FOLDED_GROUPS).map(shardOfKey);
    await access.write((tables) => planFolding(tables, shardBits, groups, ids, access.changer).store());
  }
  await access.write((tables) => {
    if (Array.from(tables.recent.getKeys({ start, end, limit: 1 })).length === 0) markUnused(tables, shardBits);
  });
}

function findRecords({ members }: Tables, start: number, end: number, shardBits: number, ids: ReadonlySet<number>) {
  const deadline = performance.now() + SLICE_MS;
  const keys: number[] = [];
  for (const { key, value } of members.getRange({ start, end })) {
    if (namesAny(value, openRecord(value, value.length, shardBits), ids)) keys.push(key);
    if (keys.length === SLICE_RECORDS || performance.now() > deadline) return { keys, next: key + 1 };
  }
  return { keys, next: end };
}

function stripRecords(
  { members }: Tables,
  keys: readonly number[],
  shardBits: number,
  dropped: ReadonlySet<number>,
  changer: ShardChanger,
): void {
  changer.recycle();
  for (const key of keys) {
    const record = members.getBinaryFast(key);
    if (record === undefined) continue;
    const { changed, bytes } = changer.apply(record, record.length, {
      shardBits,
      id: 0,
      adds: nothing,
      removes: nothing,
      dropped,
    });
    if (changed) putRecord(members, key, bytes);
  }
}
