// The record of one shard: which contexts it holds and which member sets each of them is in. Reading is here, changing in
// shard-change.ts.
//
// Layout of format 1, all numbers unsigned, `varint` as in varint.ts:
//
//   1 byte    the format in the high four bits, the index width w (0, 1, 2 or 4) in the low four
//   varint    n, the number of contexts, at least 1
//   varint    bytes of the dictionary
//   …         the dictionary: each distinct list of member set ids once (an empty one too, in records of recent changes),
//             as varint(bytes of the list), then the ids in ascending order, the first as it is and each further one as the difference to the one before, as varints
//   n * w     for each context the number of its list, little-endian; none (w = 0) where there is one list only
//   n * s     the contexts in ascending order: their hashes without the whole leading bytes that the shard implies,
//             s = 16 - floor(shardBits / 8)
//
// In the common case of few segments a context costs s + 1 bytes, whatever the number of sets it is in.

import { CONTEXT_HASH_BYTES, type ContextHashes, MAX_SHARD_BITS, RollcallError } from "@rollcall/core";
import { readVarint, varintBytes } from "./varint.js";

export const RECORD_FORMAT = 1;

/** Where the parts of a record begin. */
export interface RecordParts {
  readonly contexts: number;
  readonly indexWidth: number;
  readonly dictionary: number;
  readonly indexes: number;
  readonly suffixes: number;
  readonly suffixBytes: number;
}

/** The bytes of a hash that are kept: what remains without the whole leading bytes that the shard implies. */
export function suffixBytesOf(shardBits: number): number {
  return CONTEXT_HASH_BYTES - (shardBits >>> 3);
}

/**
 * Takes a record apart. `record` may be longer than `length`, as the buffer that LMDB reads into is.
 * @throws `corrupt_data` if the parts do not add up to `length`.
 */
export function openRecord(record: Uint8Array, length: number, shardBits: number): RecordParts {
  const head = record[0] as number;
  const indexWidth = head & 0x0f;
  const contexts = readVarint(record, 1);
  const sizeAt = 1 + varintBytes(contexts);
  const dictionaryBytes = readVarint(record, sizeAt);
  const dictionary = sizeAt + varintBytes(dictionaryBytes);
  const indexes = dictionary + dictionaryBytes;
  const suffixes = indexes + contexts * indexWidth;
  const suffixBytes = suffixBytesOf(shardBits);
  if (head >>> 4 !== RECORD_FORMAT || contexts === 0 || suffixes + contexts * suffixBytes !== length)
    throw new RollcallError("corrupt_data", "a shard record does not add up; run verify, or restore from a copy");
  return { contexts, indexWidth, dictionary, indexes, suffixes, suffixBytes };
}

/** The number of the list of the context at `position`. */
export function listNumberAt(record: Uint8Array, parts: RecordParts, position: number): number {
  const { indexWidth } = parts;
  if (indexWidth === 0) return 0;
  const at = parts.indexes + position * indexWidth;
  if (indexWidth === 1) return record[at] as number;
  const low = (record[at] as number) | ((record[at + 1] as number) << 8);
  return indexWidth === 2 ? low : low | ((record[at + 2] as number) << 16) | ((record[at + 3] as number) << 24);
}

/** Where the hash at `index` of `hashes` stands in the record, or -1. */
export function findContext(record: Uint8Array, parts: RecordParts, hashes: ContextHashes, index: number): number {
  const { suffixBytes, suffixes } = parts;
  const wanted = index * CONTEXT_HASH_BYTES + CONTEXT_HASH_BYTES - suffixBytes;
  let low = 0;
  let high = parts.contexts - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const at = suffixes + middle * suffixBytes;
    let difference = 0;
    for (let k = 0; k < suffixBytes && difference === 0; k++)
      difference = (record[at + k] as number) - (hashes[wanted + k] as number);
    if (difference === 0) return middle;
    if (difference < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** The ids in list `listNumber`. */
export function setsAt(record: Uint8Array, parts: RecordParts, listNumber: number): number[] {
  const ids: number[] = [];
  collectWanted(record, parts, listNumber, everyId, ids);
  return ids;
}

const everyId = { has: () => true };

/** Adds to `found` the ids out of `wanted` in list `listNumber`. */
export function collectWanted<Id extends number>(
  record: Uint8Array,
  parts: RecordParts,
  listNumber: number,
  wanted: { has(id: Id): boolean },
  found: Id[],
): void {
  let at = parts.dictionary;
  for (let skipped = 0; skipped < listNumber; skipped++) {
    const bytes = readVarint(record, at);
    at += varintBytes(bytes) + bytes;
  }
  const bytes = readVarint(record, at);
  at += varintBytes(bytes);
  const end = at + bytes;
  for (let id = 0; at < end; ) {
    const step = readVarint(record, at);
    at += varintBytes(step);
    id += step;
    if (wanted.has(id as Id)) found.push(id as Id);
  }
}

/** Calls `visit` with every list of the record, in the order of their numbers. `ids` is reused from call to call. */
function forEachList(
  record: Uint8Array,
  parts: RecordParts,
  visit: (ids: readonly number[], listNumber: number) => void,
): void {
  const ids: number[] = [];
  let listNumber = 0;
  for (let at = parts.dictionary; at < parts.indexes; listNumber++) {
    const bytes = readVarint(record, at);
    at += varintBytes(bytes);
    const end = at + bytes;
    ids.length = 0;
    for (let id = 0; at < end; ) {
      const step = readVarint(record, at);
      at += varintBytes(step);
      id += step;
      ids.push(id);
    }
    visit(ids, listNumber);
  }
}

/** Whether any list of the record names one of `ids`. */
export function namesAny(record: Uint8Array, parts: RecordParts, ids: ReadonlySet<number>): boolean {
  let found = false;
  forEachList(record, parts, (list) => {
    for (const id of list) if (ids.has(id)) found = true;
  });
  return found;
}

/** All lists of the record, by number. */
export function listsOf(record: Uint8Array, parts: RecordParts): number[][] {
  const lists: number[][] = [];
  forEachList(record, parts, (ids) => lists.push([...ids]));
  return lists;
}

/** The contexts of the record as full hashes, those only that `chosen` accepts by position. */
export function contextsOf(
  record: Uint8Array,
  parts: RecordParts,
  shard: number,
  shardBits: number,
  chosen: (position: number) => boolean,
): ContextHashes {
  const contexts = new Uint8Array(parts.contexts * CONTEXT_HASH_BYTES);
  const leading = shard << (MAX_SHARD_BITS - shardBits);
  const dropped = CONTEXT_HASH_BYTES - parts.suffixBytes;
  let end = 0;
  for (let position = 0; position < parts.contexts; position++) {
    if (!chosen(position)) continue;
    for (let k = 0; k < dropped; k++) contexts[end++] = leading >>> (MAX_SHARD_BITS - 8 - 8 * k);
    const at = parts.suffixes + position * parts.suffixBytes;
    for (let k = 0; k < parts.suffixBytes; k++) contexts[end++] = record[at + k] as number;
  }
  return contexts.subarray(0, end);
}

/** The members of set `id` among the contexts of the record, as full hashes in order. */
export function membersOf(
  record: Uint8Array,
  parts: RecordParts,
  shard: number,
  shardBits: number,
  id: number,
): ContextHashes {
  const holds = listsOf(record, parts).map((ids) => ids.includes(id));
  if (!holds.includes(true)) return new Uint8Array();
  return contextsOf(
    record,
    parts,
    shard,
    shardBits,
    (position) => holds[listNumberAt(record, parts, position)] === true,
  );
}
