// Changing shard records: merges the adds and removes of one member set into the sorted contexts of a record, and strips
// dropped sets on the way. Works in buffers that are kept from record to record, so that nothing is allocated per member.

import { CONTEXT_HASH_BYTES, type ContextHashes } from "@rollcall/core";
import { listNumberAt, openRecord, RECORD_FORMAT, type RecordParts, suffixBytesOf } from "./shard-record.js";
import { MAX_VARINT_BYTES, readVarint, varintBytes, writeVarint } from "./varint.js";

/** What happens to one record. */
interface ShardChange {
  readonly shardBits: number;
  /** The set that `adds` join and `removes` leave. */
  readonly id: number;
  readonly adds: ContextHashes;
  readonly removes: ContextHashes;
  /** Sets whose members are stripped from the record. */
  readonly dropped: ReadonlySet<number>;
  /** The sets of a context that the record does not hold, the hash at `index` of `hashes`. Default: none. */
  readonly setsElsewhere?: (hashes: ContextHashes, index: number) => readonly number[];
  /** Whether a context stays when it is in no set any more. Default `false`. */
  readonly keepEmpty?: boolean;
}

/** Contexts in order, each with all the sets it is in: what is laid over a record. */
export interface Overlay {
  readonly hashes: ContextHashes;
  /** The sets of the context at `index` of `hashes`. */
  setsOf(index: number): readonly number[];
  /** The first context that counts, and the one after the last. */
  readonly from: number;
  readonly to: number;
  /** Whether the record's own contexts stay when they are in no set. Default `false`. */
  readonly keepEmpty?: boolean;
}

/** A record after a change. */
interface ChangedRecord {
  readonly added: number;
  readonly removed: number;
  /** Whether `bytes` differ from the record before. */
  readonly changed: boolean;
  /** The new record, valid until {@link ShardChanger.recycle}; empty where no context is left. */
  readonly bytes: Uint8Array;
}

/** Changes records. Not reentrant; make one per store. */
export interface ShardChanger {
  /**
   * Applies `change` to `record`, of which the first `length` bytes count; `undefined` where there is none yet.
   * @throws `corrupt_data` if the record does not add up.
   */
  apply(record: Uint8Array | undefined, length: number, change: ShardChange): ChangedRecord;
  /**
   * Lays `overlay` over `record`: its contexts are afterwards in exactly the sets given there, whatever the record says, and
   * gone where there are none. The record's own lists lose the sets in `dropped`.
   * @throws `corrupt_data` if the record does not add up.
   */
  overlay(
    record: Uint8Array | undefined,
    length: number,
    shardBits: number,
    overlay: Overlay,
    dropped: ReadonlySet<number>,
  ): Uint8Array;
  /** Says that no record handed out so far is needed any more: their memory is used again. */
  recycle(): void;
}

const UNKNOWN = -1;
const NO_LIST = -2;
const NO_CHANGE = -3;

/** The three things that may happen to a context: its list stays, gets the set, or loses it. */
const KEEP = 0;
const ADD = 1;
const REMOVE = 2;

const nothing = new Uint8Array();

export function createShardChanger(): ShardChanger {
  // The lists of the record as it was: where each one's ids begin and end, whether it names the set, and what it becomes.
  let listStarts = new Int32Array(64);
  let listEnds = new Int32Array(64);
  let named = new Uint8Array(64);
  let becomes = new Int32Array(3 * 64);
  let listCount = 0;
  // The record as it becomes.
  let dictionary = new Uint8Array(1_024);
  let dictionaryBytes = 0;
  let newStarts = new Int32Array(64);
  let newHashes = new Int32Array(64);
  let newCount = 0;
  let numbers = new Int32Array(256);
  let suffixes = new Uint8Array(4_096);
  let stripped = false;
  const ids: number[] = [];
  // Records are handed out as slices of a larger buffer: an allocation of its own for each would cost more than the merge.
  let arena = new Uint8Array(1 << 20);
  let arenaUsed = 0;

  function apply(record: Uint8Array | undefined, length: number, change: ShardChange): ChangedRecord {
    const { shardBits, adds, removes, setsElsewhere } = change;
    const parts = record === undefined ? undefined : openRecord(record, length, shardBits);
    const old = record ?? adds;
    const oldCount = parts?.contexts ?? 0;
    const oldStart = parts?.suffixes ?? 0;
    const width = suffixBytesOf(shardBits);
    const skipped = CONTEXT_HASH_BYTES - width;
    const addCount = adds.length / CONTEXT_HASH_BYTES;
    const removeCount = removes.length / CONTEXT_HASH_BYTES;
    begin(record, parts, oldCount + addCount + removeCount, width);

    let added = 0;
    let removed = 0;
    let contexts = 0;
    let end = 0;
    let fresh = UNKNOWN;
    let nextAdd = 0;
    let nextRemove = 0;
    for (let position = 0; position < oldCount || nextAdd < addCount || nextRemove < removeCount; ) {
      const at = oldStart + position * width;
      let changes = adds;
      let changeAt = nextAdd * CONTEXT_HASH_BYTES + skipped;
      let action = nextAdd < addCount ? ADD : KEEP;
      if (nextRemove < removeCount) {
        const removeAt = nextRemove * CONTEXT_HASH_BYTES + skipped;
        if (action === KEEP || compareSuffixes(removes, removeAt, adds, changeAt, width) < 0) {
          action = REMOVE;
          changes = removes;
          changeAt = removeAt;
        }
      }
      let order = -1;
      if (position >= oldCount) order = 1;
      else if (action !== KEEP) order = compareSuffixes(old, at, changes, changeAt, width);
      if (order < 0) action = KEEP;

      let number = NO_LIST;
      if (order > 0) {
        if (setsElsewhere !== undefined) {
          number = entered(setsElsewhere(changes, action === ADD ? nextAdd : nextRemove), action, change);
          if (number === NO_CHANGE) number = NO_LIST;
          else if (action === ADD) added++;
          else removed++;
        } else if (action === ADD) {
          if (fresh === UNKNOWN) fresh = intern([change.id]);
          number = fresh;
          added++;
        }
        if (number !== NO_LIST) {
          for (let k = 0; k < width; k++) suffixes[end++] = changes[changeAt + k] as number;
        }
      } else {
        const list = parts === undefined ? 0 : listNumberAt(old, parts, position);
        number = becomes[3 * list + action] as number;
        if (number === UNKNOWN) number = become(old, list, action, change);
        if (action === ADD && named[list] === 0) added++;
        if (action === REMOVE && named[list] === 1) removed++;
        if (number !== NO_LIST) {
          for (let k = 0; k < width; k++) suffixes[end++] = old[at + k] as number;
        }
        position++;
      }
      if (number !== NO_LIST) numbers[contexts++] = number;
      if (action === ADD) nextAdd++;
      else if (action === REMOVE) nextRemove++;
    }
    const changed = added > 0 || removed > 0 || stripped;
    return { added, removed, changed, bytes: changed && contexts > 0 ? assemble(contexts, end) : nothing };
  }

  function overlay(
    record: Uint8Array | undefined,
    length: number,
    shardBits: number,
    top: Overlay,
    dropped: ReadonlySet<number>,
  ): Uint8Array {
    const { hashes, from, to, keepEmpty = false } = top;
    const strip: ShardChange = { shardBits, id: 0, adds: nothing, removes: nothing, dropped, keepEmpty };
    const parts = record === undefined ? undefined : openRecord(record, length, shardBits);
    const old = record ?? hashes;
    const oldCount = parts?.contexts ?? 0;
    const width = suffixBytesOf(shardBits);
    begin(record, parts, oldCount + to - from, width);
    let contexts = 0;
    let end = 0;
    let position = 0;
    let next = from;
    while (position < oldCount || next < to) {
      const at = (parts?.suffixes ?? 0) + position * width;
      const topAt = (next + 1) * CONTEXT_HASH_BYTES - width;
      let order = -1;
      if (position >= oldCount) order = 1;
      else if (next < to) order = compareSuffixes(old, at, hashes, topAt, width);
      let number: number;
      if (order < 0) {
        const list = parts === undefined ? 0 : listNumberAt(old, parts, position);
        number = becomes[3 * list + KEEP] as number;
        if (number === UNKNOWN) number = become(old, list, KEEP, strip);
      } else {
        const sets = top.setsOf(next++);
        number = sets.length === 0 ? NO_LIST : intern(sets);
      }
      if (number !== NO_LIST) {
        numbers[contexts++] = number;
        const [source, start] = order < 0 ? [old, at] : [hashes, topAt];
        for (let k = 0; k < width; k++) suffixes[end++] = source[start + k] as number;
      }
      if (order <= 0) position++;
    }
    return contexts > 0 ? assemble(contexts, end) : nothing;
  }

  function begin(record: Uint8Array | undefined, parts: RecordParts | undefined, most: number, width: number): void {
    listCount = 0;
    newCount = 0;
    dictionaryBytes = 0;
    stripped = false;
    if (numbers.length < most) numbers = new Int32Array(2 * most);
    if (suffixes.length < most * width) suffixes = new Uint8Array(2 * most * width);
    if (record === undefined || parts === undefined) return;
    for (let at = parts.dictionary; at < parts.indexes; listCount++) {
      if (listCount === listStarts.length) growLists();
      const bytes = readVarint(record, at);
      at += varintBytes(bytes);
      listStarts[listCount] = at;
      at += bytes;
      listEnds[listCount] = at;
    }
    becomes.fill(UNKNOWN, 0, 3 * listCount);
  }

  function growLists(): void {
    listStarts = grown(listStarts, new Int32Array(2 * listStarts.length));
    listEnds = grown(listEnds, new Int32Array(2 * listEnds.length));
    named = new Uint8Array(2 * named.length);
    becomes = new Int32Array(2 * becomes.length);
  }

  /** What list `list` of the old record becomes when `action` happens to a context with it; computed once per record. */
  function become(old: Uint8Array, list: number, action: number, change: ShardChange): number {
    ids.length = 0;
    let holds = false;
    let id = 0;
    for (let at = listStarts[list] as number, end = listEnds[list] as number; at < end; ) {
      const step = readVarint(old, at);
      at += varintBytes(step);
      id += step;
      if (id === change.id) holds = true;
      if (change.dropped.has(id)) stripped = true;
      else if (id !== change.id || action !== REMOVE) ids.push(id);
    }
    if (action === ADD && !holds) insertSorted(ids, change.id);
    named[list] = holds ? 1 : 0;
    const number = ids.length === 0 && change.keepEmpty !== true ? NO_LIST : intern(ids);
    becomes[3 * list + action] = number;
    return number;
  }

  /** The list of a context that enters the record with `sets` from elsewhere; `NO_CHANGE` if `action` changes nothing. */
  function entered(sets: readonly number[], action: number, change: ShardChange): number {
    if (sets.includes(change.id) === (action === ADD)) return NO_CHANGE;
    ids.length = 0;
    for (const id of sets) if (id !== change.id && !change.dropped.has(id)) ids.push(id);
    if (action === ADD) insertSorted(ids, change.id);
    return ids.length === 0 && change.keepEmpty !== true ? NO_LIST : intern(ids);
  }

  /** The number of the list `list` in the new dictionary, where it is put if it is not there yet. */
  function intern(list: readonly number[]): number {
    const needed = dictionaryBytes + (list.length + 1) * MAX_VARINT_BYTES;
    if (dictionary.length < needed) dictionary = grown(dictionary, new Uint8Array(2 * needed));
    let bytes = 0;
    let before = 0;
    for (const id of list) {
      bytes += varintBytes(id - before);
      before = id;
    }
    let end = writeVarint(dictionary, dictionaryBytes, bytes);
    before = 0;
    for (const id of list) {
      end = writeVarint(dictionary, end, id - before);
      before = id;
    }
    let hash = 0;
    for (let at = dictionaryBytes; at < end; at++) hash = Math.imul(hash ^ (dictionary[at] as number), 0x01000193);
    for (let number = 0; number < newCount; number++)
      if (newHashes[number] === hash && sameList(number, end)) return number;
    if (newCount === newStarts.length) {
      newStarts = grown(newStarts, new Int32Array(2 * newStarts.length));
      newHashes = grown(newHashes, new Int32Array(2 * newHashes.length));
    }
    newStarts[newCount] = dictionaryBytes;
    newHashes[newCount] = hash;
    dictionaryBytes = end;
    return newCount++;
  }

  /** Whether list `number` equals the candidate that was written behind the dictionary, up to `end`. */
  function sameList(number: number, end: number): boolean {
    const start = newStarts[number] as number;
    const bytes = end - dictionaryBytes;
    if (start + bytes > dictionaryBytes) return false;
    for (let k = 0; k < bytes; k++) if (dictionary[start + k] !== dictionary[dictionaryBytes + k]) return false;
    return true;
  }

  function assemble(contexts: number, suffixesEnd: number): Uint8Array {
    const indexWidth = newCount <= 1 ? 0 : newCount <= 0x100 ? 1 : newCount <= 0x1_0000 ? 2 : 4;
    const most = 1 + 2 * MAX_VARINT_BYTES + dictionaryBytes + contexts * indexWidth + suffixesEnd;
    if (arena.length - arenaUsed < most) {
      // Twice as large, so that one arena soon holds all that is changed between two calls of recycle.
      arena = new Uint8Array(Math.max(2 * arena.length, most));
      arenaUsed = 0;
    }
    const start = arenaUsed;
    arena[start] = (RECORD_FORMAT << 4) | indexWidth;
    let at = writeVarint(arena, start + 1, contexts);
    at = writeVarint(arena, at, dictionaryBytes);
    for (let k = 0; k < dictionaryBytes; k++) arena[at++] = dictionary[k] as number;
    for (let context = 0; context < contexts && indexWidth > 0; context++) {
      const number = numbers[context] as number;
      for (let k = 0; k < indexWidth; k++) arena[at++] = number >>> (8 * k);
    }
    arena.set(suffixes.subarray(0, suffixesEnd), at);
    arenaUsed = at + suffixesEnd;
    return arena.subarray(start, arenaUsed);
  }

  function recycle(): void {
    arenaUsed = 0;
  }

  return { apply, overlay, recycle };
}

function compareSuffixes(a: Uint8Array, aStart: number, b: Uint8Array, bStart: number, width: number): number {
  for (let k = 0; k < width; k++) {
    const difference = (a[aStart + k] as number) - (b[bStart + k] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

function insertSorted(ids: number[], id: number): void {
  let at = ids.length;
  while (at > 0 && (ids[at - 1] as number) > id) at--;
  ids.splice(at, 0, id);
}

function grown<T extends Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
