// Reading all members of a set, or all sets, in slices: each from one snapshot, none held open for the next.

import { type ContextHashes, concatHashes, hashAt, hashCount, type MemberSet } from "@rollcall/core";
import { recordKey, recordKeys, shardOfKey } from "./member-records.js";
import { groupBitsOf, groupKey, groupOf, shardsOf } from "./recent-changes.js";
import { findContext, membersOf, openRecord, type RecordParts } from "./shard-record.js";
import type { Tables } from "./shared-environment.js";

/** Records read from one snapshot, before others get their turn. */
const SLICE_RECORDS = 256;

/** Members found in a slice, and the group to go on with; none when the scan is complete. */
export interface ScanSlice {
  readonly members: ContextHashes;
  readonly nextGroup: number | undefined;
}

/**
 * The members of `set` in whole groups from `firstGroup` on. A group is read from one snapshot, because a fold moves members between its
 * two kinds of record. @throws `corrupt_data`.
 */
export function scanGroups(tables: Tables, { id, shardBits }: MemberSet, firstGroup: number): ScanSlice {
  const groupBits = groupBitsOf(shardBits);
  const { end } = recordKeys(shardBits);
  const groups = new Map<number, { readonly record: Uint8Array; readonly parts: RecordParts }>();
  const runs: ContextHashes[] = [];
  let nextGroup: number | undefined;
  for (const { key, value } of tables.recent.getRange({
    start: groupKey(shardBits, firstGroup),
    end,
    limit: SLICE_RECORDS,
  })) {
    const group = shardOfKey(key);
    const parts = openRecord(value, value.length, groupBits);
    groups.set(group, { record: value, parts });
    if (groups.size === SLICE_RECORDS) nextGroup = group + 1;
  }
  let read = 0;
  let current = firstGroup;
  for (const { key, value } of tables.members.getRange({ start: firstKey(firstGroup, shardBits), end })) {
    const shard = shardOfKey(key);
    const group = groupOf(shard, shardBits);
    if (nextGroup !== undefined && group >= nextGroup) break;
    if (group !== current && read >= SLICE_RECORDS) {
      nextGroup = group;
      break;
    }
    current = group;
    read++;
    const members = membersOf(value, openRecord(value, value.length, shardBits), shard, shardBits, id);
    const recent = groups.get(group);
    runs.push(recent === undefined ? members : without(members, recent.record, recent.parts));
  }
  for (const [group, { record, parts }] of groups) {
    if (nextGroup === undefined || group < nextGroup) runs.push(membersOf(record, parts, group, groupBits, id));
  }
  return { members: concatHashes(runs), nextGroup };
}

function firstKey(group: number, shardBits: number): number {
  return recordKey(shardBits, shardsOf(group, shardBits).first);
}

/** Those of `members` that the record of their group does not hold. */
function without(members: ContextHashes, record: Uint8Array, parts: RecordParts): ContextHashes {
  const runs: ContextHashes[] = [];
  for (let index = 0; index < hashCount(members); index++)
    if (findContext(record, parts, members, index) < 0) runs.push(hashAt(members, index));
  return concatHashes(runs);
}
