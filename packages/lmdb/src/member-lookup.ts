// Which of some member sets a context is in: one record for each shardBits in use, and one more while there are recent changes.

import {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  idsByShardBits,
  type MemberSet,
  type MemberSetId,
  shardOf,
} from "@rollcall/core";
import { recordKey } from "./member-records.js";
import { groupBitsOf, groupKey, mayHaveRecent } from "./recent-changes.js";
import { collectWanted, findContext, listNumberAt, openRecord, type RecordParts } from "./shard-record.js";
import type { Tables } from "./shared-environment.js";

/** Looks contexts up. Make one per store: it remembers how the sets it was asked about last are grouped. */
export interface MemberLookup {
  /** For each of `hashes` the ids out of `among`; `used` are the `usedShardBits` of the same snapshot. @throws `corrupt_data`. */
  find(tables: Tables, hashes: ContextHashes, among: readonly MemberSet[], used: number): MemberSetId[][];
}

interface WantedSets {
  readonly shardBits: number;
  readonly ids: ReadonlySet<MemberSetId>;
}

export function createMemberLookup(): MemberLookup {
  // A reader asks about the same sets again and again.
  let lastAmong: readonly MemberSet[] = [];
  let lastWanted: readonly WantedSets[] = [];

  return {
    find(tables, hashes, among, used) {
      if (!sameSets(among, lastAmong)) {
        lastAmong = [...among];
        lastWanted = Array.from(idsByShardBits(among), ([shardBits, ids]) => ({ shardBits, ids }));
      }
      const [only] = lastWanted;
      if (only !== undefined && lastWanted.length === 1 && !mayHaveRecent(used, only.shardBits)) {
        return findInRecords(tables, hashes, only);
      }
      const results: MemberSetId[][] = [];
      for (let index = 0; index < hashes.length / CONTEXT_HASH_BYTES; index++) {
        const found: MemberSetId[] = [];
        for (const wanted of lastWanted) findOne(tables, hashes, index, wanted, used, found);
        results.push(found);
      }
      return results;
    },
  };
}

// Many at once come sorted, so that neighbours share a record: it is read once for all of them. Nothing else is read
// between, for the bytes are LMDB's to use again with the next record.
function findInRecords({ members }: Tables, hashes: ContextHashes, { shardBits, ids }: WantedSets): MemberSetId[][] {
  const results: MemberSetId[][] = [];
  let key = -1;
  let record: Uint8Array | undefined;
  let parts: RecordParts | undefined;
  for (let index = 0; index < hashes.length / CONTEXT_HASH_BYTES; index++) {
    const found: MemberSetId[] = [];
    results.push(found);
    const wantedKey = recordKey(shardBits, shardOf(hashes, index, shardBits));
    if (wantedKey !== key) {
      key = wantedKey;
      record = members.getBinaryFast(key);
      parts = record && openRecord(record, record.length, shardBits);
    }
    if (record === undefined || parts === undefined) continue;
    const position = findContext(record, parts, hashes, index);
    if (position >= 0) collectWanted(record, parts, listNumberAt(record, parts, position), ids, found);
  }
  return results;
}

function findOne(
  { members, recent }: Tables,
  hashes: ContextHashes,
  index: number,
  { shardBits, ids }: WantedSets,
  used: number,
  found: MemberSetId[],
): void {
  if (mayHaveRecent(used, shardBits)) {
    const bits = groupBitsOf(shardBits);
    const changes = recent.getBinaryFast(groupKey(shardBits, shardOf(hashes, index, bits)));
    // What recent changes say of a context counts instead of its shard record.
    if (changes !== undefined && collect(changes, bits, hashes, index, ids, found)) return;
  }
  const record = members.getBinaryFast(recordKey(shardBits, shardOf(hashes, index, shardBits)));
  if (record !== undefined) collect(record, shardBits, hashes, index, ids, found);
}

/** Adds to `found` what the record says of a context; answers whether it holds it. */
function collect(
  record: Uint8Array,
  bits: number,
  hashes: ContextHashes,
  index: number,
  wanted: ReadonlySet<MemberSetId>,
  found: MemberSetId[],
): boolean {
  const parts = openRecord(record, record.length, bits);
  const position = findContext(record, parts, hashes, index);
  if (position < 0) return false;
  collectWanted(record, parts, listNumberAt(record, parts, position), wanted, found);
  return true;
}

function sameSets(a: readonly MemberSet[], b: readonly MemberSet[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const [left, right] = [a[i], b[i]];
    if (left !== right && (left?.id !== right?.id || left?.shardBits !== right?.shardBits)) return false;
  }
  return true;
}
