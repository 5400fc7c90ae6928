// Sorts one partition of hash records in memory and keeps one record per hash: a stable radix sort on 22 bits of the
// hash, then the few ties by all of it.

import { CONTEXT_HASH_BYTES } from "./context-hashes.js";

const HASH_WORDS = CONTEXT_HASH_BYTES / 4;
const RECORD_WORDS = HASH_WORDS + 1;

/** Bytes of one record: a context hash and one word that says what happens to it. Words, so that a record moves in five steps. */
export const RECORD_BYTES = RECORD_WORDS * 4;

/** The last word of a record. */
export const ADD = 1;
export const REMOVE = 0;

/** Sorted, unique, disjoint. */
export interface SortedChanges {
  readonly adds: Uint8Array;
  readonly removes: Uint8Array;
  /** Records given to the sorter; what is more than `adds` and `removes` together were duplicates. */
  readonly records: number;
}

const RADIX_BITS = 11;
const RADIX = 1 << RADIX_BITS;
const RADIX_MASK = RADIX - 1;
// Longer ties are sorted by comparison: an insertion sort would be quadratic on digests made to collide.
const LONGEST_INSERTION = 32;

/** Records of one slice, so that what is under way takes as much memory however many there are. */
const SLICE_RECORDS = 4_096;

/** Record numbers in order of hash, and beside each the 22 bits it was sorted by. */
interface Order {
  readonly records: Uint32Array;
  readonly keys: Uint32Array;
}

/** Sorts, time after time, in the same memory: garbage of that size is collected late, and would count as memory in use until then. */
export interface Sorter {
  /**
   * Sorts `count` records at the start of `words`; of records with one hash the last in the buffer wins.
   * `keyOffset` (0 to 13) is the first of the three bytes that tell most hashes apart; the bytes before it are the same in all. Answers
   * slices, in order and the caller's to keep; all of them are to be taken before the next sort.
   */
  sort(words: Uint32Array, count: number, keyOffset: number): Generator<SortedChanges>;
}

/** Makes a sorter. It takes memory when it is first needed: 16 bytes for each record of the largest sort, and 16 KB. */
export function createSorter(): Sorter {
  let room = new Uint32Array(0);

  /** What a sort of `count` records needs. But for the histograms the last sort is still in it. */
  function arrays(count: number) {
    const start = 2 * RADIX;
    if (room.length < start + 4 * count) room = new Uint32Array(start + 4 * count);
    const part = (index: number) => room.subarray(start + index * count, start + (index + 1) * count);
    return {
      low: room.subarray(0, RADIX).fill(0),
      high: room.subarray(RADIX, start).fill(0),
      keys: part(0),
      byLow: part(1),
      records: part(2),
      sortedKeys: part(3),
    };
  }

  function radixOrder(bytes: Uint8Array, count: number, keyOffset: number): Order {
    const { low, high, keys, byLow, records, sortedKeys } = arrays(count);
    for (let i = 0, at = keyOffset; i < count; i++, at += RECORD_BYTES) {
      const leading = ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
      const key = leading >>> (24 - 2 * RADIX_BITS);
      keys[i] = key;
      low[key & RADIX_MASK] = (low[key & RADIX_MASK] as number) + 1;
      high[key >>> RADIX_BITS] = (high[key >>> RADIX_BITS] as number) + 1;
    }
    startsFromSizes(low);
    startsFromSizes(high);
    for (let i = 0; i < count; i++) {
      const digit = (keys[i] as number) & RADIX_MASK;
      const to = low[digit] as number;
      low[digit] = to + 1;
      byLow[to] = i;
    }
    for (let i = 0; i < count; i++) {
      const record = byLow[i] as number;
      const key = keys[record] as number;
      const digit = key >>> RADIX_BITS;
      const to = high[digit] as number;
      high[digit] = to + 1;
      records[to] = record;
      sortedKeys[to] = key;
    }
    return { records, keys: sortedKeys };
  }

  return {
    *sort(words, count, keyOffset) {
      const bytes = new Uint8Array(words.buffer, words.byteOffset, count * RECORD_BYTES);
      const order = count <= LONGEST_INSERTION ? arrivalOrder(count) : radixOrder(bytes, count, keyOffset);
      sortTies(bytes, order);
      for (let start = 0; start < count; start += SLICE_RECORDS)
        yield pickLast(words, bytes, order, start, Math.min(start + SLICE_RECORDS, count));
    },
  };
}

// All one tie: a handful of records is sorted by comparison alone.
function arrivalOrder(count: number): Order {
  return { records: new Uint32Array(count).map((_, i) => i), keys: new Uint32Array(count) };
}

function startsFromSizes(histogram: Uint32Array): void {
  for (let digit = 0, start = 0; digit < RADIX; digit++) {
    const size = histogram[digit] as number;
    histogram[digit] = start;
    start += size;
  }
}

function sortTies(bytes: Uint8Array, { records, keys }: Order): void {
  let start = 0;
  while (start < keys.length - 1) {
    let end = start + 1;
    while (end < keys.length && keys[end] === keys[start]) end++;
    if (end - start > 1) sortRun(bytes, records.subarray(start, end));
    start = end;
  }
}

function sortRun(bytes: Uint8Array, run: Uint32Array): void {
  if (run.length > LONGEST_INSERTION) {
    run.sort((a, b) => compareRecords(bytes, a, b) || a - b);
    return;
  }
  for (let i = 1; i < run.length; i++) {
    const record = run[i] as number;
    let j = i;
    while (j > 0 && compareRecords(bytes, run[j - 1] as number, record) > 0) {
      run[j] = run[j - 1] as number;
      j--;
    }
    run[j] = record;
  }
}

function compareRecords(bytes: Uint8Array, a: number, b: number): number {
  const i = a * RECORD_BYTES;
  const j = b * RECORD_BYTES;
  for (let k = 0; k < CONTEXT_HASH_BYTES; k++) {
    const difference = (bytes[i + k] as number) - (bytes[j + k] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The changes of the records from the one at `start` to the one before `end`. */
function pickLast(
  words: Uint32Array,
  bytes: Uint8Array,
  { records, keys }: Order,
  start: number,
  end: number,
): SortedChanges {
  const count = end - start;
  const adds = new Uint32Array(count * HASH_WORDS);
  let removes = new Uint32Array(0);
  let added = 0;
  let removed = 0;
  for (let i = start; i < end; i++) {
    const record = records[i] as number;
    const tied = i + 1 < records.length && keys[i] === keys[i + 1];
    if (tied && compareRecords(bytes, record, records[i + 1] as number) === 0) continue;
    const from = record * RECORD_WORDS;
    if (words[from + HASH_WORDS] === ADD) {
      copyHash(words, from, adds, added);
      added += HASH_WORDS;
    } else {
      if (removes.length === 0) removes = new Uint32Array(count * HASH_WORDS);
      copyHash(words, from, removes, removed);
      removed += HASH_WORDS;
    }
  }
  return {
    adds: new Uint8Array(adds.buffer, 0, added * 4),
    removes: new Uint8Array(removes.buffer, 0, removed * 4),
    records: count,
  };
}

function copyHash(source: Uint32Array, from: number, target: Uint32Array, to: number): void {
  target[to] = source[from] as number;
  target[to + 1] = source[from + 1] as number;
  target[to + 2] = source[from + 2] as number;
  target[to + 3] = source[from + 3] as number;
}

/**
 * Splits `count` records by the first byte of their hash, in order of arrival within a partition. Writes them in their new order to
 * `records`, and answers the record number at which each of the 256 partitions starts, and one more for the end.
 */
export function splitByFirstByte(words: Uint32Array, count: number, records: Uint32Array): Uint32Array {
  // What is written beyond its end is not there, and nobody says so.
  if (records.length < count * RECORD_WORDS) throw new RangeError("no room for the records");
  const bytes = new Uint8Array(words.buffer, words.byteOffset, count * RECORD_BYTES);
  const bounds = new Uint32Array(257);
  for (let at = 0; at < bytes.length; at += RECORD_BYTES) {
    const next = (bytes[at] as number) + 1;
    bounds[next] = (bounds[next] as number) + 1;
  }
  for (let partition = 0; partition < 256; partition++) {
    bounds[partition + 1] = (bounds[partition + 1] as number) + (bounds[partition] as number);
  }
  const position = bounds.slice(0, 256);
  for (let i = 0, from = 0; i < count; i++, from += RECORD_WORDS) {
    const partition = bytes[i * RECORD_BYTES] as number;
    const slot = position[partition] as number;
    position[partition] = slot + 1;
    const to = slot * RECORD_WORDS;
    copyHash(words, from, records, to);
    records[to + HASH_WORDS] = words[from + HASH_WORDS] as number;
  }
  return bounds;
}
