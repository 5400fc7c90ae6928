// Writes sorted changes into one member set: cut into blocks by shard, gathered into windows, a bounded number at once.

import { CONTEXT_HASH_BYTES, type ContextHashes, concatHashes, hashCount, shardOf } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { isLossOfMembers, throwIfAborted } from "./errors.js";
import type { HeldLease } from "./lease.js";
import type { MemberSet } from "./segment.js";
import type { SortedChanges } from "./sorter.js";
import type { Block, SegmentStore } from "./store.js";

/** What came of writing one set. */
export interface WriteResult {
  /** Distinct members that were to be there, and not to be there. */
  readonly adds: number;
  readonly removes: number;
  /** Records that named a member again. */
  readonly duplicates: number;
  /** Members really added and removed, as the store counted. */
  readonly added: number;
  readonly removed: number;
  /** Whether every write had one unambiguous reply, so that `added` and `removed` are exact. */
  readonly exact: boolean;
  /** Of `adds`, those that are members of `compareWith`; `undefined` if it has lost members. */
  readonly shared: number | undefined;
}

/** The same fields, to be counted up. */
export type Mutable<T> = { -readonly [Field in keyof T]: T[Field] };

/** What comes of writing nothing. */
export const NOTHING_WRITTEN: WriteResult = {
  adds: 0,
  removes: 0,
  duplicates: 0,
  added: 0,
  removed: 0,
  exact: true,
  shared: 0,
};

/** Options of {@link writeMembers}. */
export interface WriteOptions {
  /** Another set, whose members among `adds` are counted. */
  readonly compareWith?: MemberSet | undefined;
  readonly onWritten?: ((members: number) => void) | undefined;
}

/** Writes `chunks`, ascending in hash, into `set`. @throws what the store throws, after all writes under way have ended. */
export async function writeMembers(
  engine: Engine,
  lease: HeldLease,
  set: MemberSet,
  chunks: AsyncIterable<SortedChanges>,
  options: WriteOptions = {},
): Promise<WriteResult> {
  const { store, retrying } = engine;
  const { signal } = lease;
  const total: Mutable<WriteResult> = { ...NOTHING_WRITTEN };
  const distinct = countDuplicates(chunks, total);

  async function write(window: Window): Promise<void> {
    const onRetry = () => {
      total.exact = false;
    };
    const { compareWith } = options;
    const [written, counted] = await Promise.allSettled([
      retrying(() => store.writeBlocks(set, window.blocks, lease.fence), { signal, onRetry }),
      compareWith === undefined
        ? 0
        : unlessLost(
            countMembers(
              engine,
              window.blocks.map((block) => block.adds),
              compareWith,
              signal,
            ),
          ),
    ]);
    // Both have ended by now: nothing of this write goes on after its lease.
    if (written.status === "rejected") throw written.reason;
    if (counted.status === "rejected") throw counted.reason;
    const { value: changes } = written;
    const { value: shared } = counted;
    total.added += changes.added;
    total.removed += changes.removed;
    total.shared = total.shared === undefined || shared === undefined ? undefined : total.shared + shared;
    options.onWritten?.(window.members);
  }

  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const window of windows(distinct, set.shardBits, store.capabilities.window)) {
      if (failure !== undefined || signal.aborted) break;
      const writing = write(window)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => {
          underWay.delete(writing);
          // Garbage that has grown old is collected rarely, and what it refers to with it: windows of a long sync would pile up.
          window.blocks.length = 0;
        });
      underWay.add(writing);
      if (underWay.size >= store.capabilities.window.concurrency) await Promise.race(underWay);
    }
  } finally {
    await Promise.all(underWay);
  }
  if (failure !== undefined) throw failure.error;
  throwIfAborted(signal);
  return total;
}

/** How many of `runs` are members of `set`. */
export async function countMembers(
  { store, retrying }: Engine,
  runs: readonly ContextHashes[],
  set: MemberSet,
  signal: AbortSignal | undefined,
): Promise<number> {
  const hashes = concatHashes(runs);
  const step = store.capabilities.maxLookup * CONTEXT_HASH_BYTES;
  let found = 0;
  for (let from = 0; from < hashes.length; from += step) {
    const answers = await retrying(() => store.findMemberSets(hashes.subarray(from, from + step), [set]), { signal });
    for (const sets of answers) found += sets.length;
  }
  return found;
}

/** What `work` finds; `undefined` where the set that it reads has lost members. */
export async function unlessLost<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isLossOfMembers(error)) return undefined;
    throw error;
  }
}

/** How many members `set` has, by reading all of them. */
export async function countBySet(store: SegmentStore, set: MemberSet, signal: AbortSignal): Promise<number> {
  let members = 0;
  for await (const hashes of store.scanMembers(set)) {
    members += hashCount(hashes);
    throwIfAborted(signal);
  }
  return members;
}

async function* countDuplicates(
  chunks: AsyncIterable<SortedChanges>,
  total: { adds: number; removes: number; duplicates: number },
): AsyncGenerator<SortedChanges> {
  for await (const chunk of chunks) {
    const adds = hashCount(chunk.adds);
    const removes = hashCount(chunk.removes);
    total.adds += adds;
    total.removes += removes;
    total.duplicates += chunk.records - adds - removes;
    yield chunk;
  }
}

interface Window {
  readonly blocks: Block[];
  readonly members: number;
}

// A window exceeds the limit of members only where a single block does.
async function* windows(
  chunks: AsyncIterable<SortedChanges>,
  shardBits: number,
  limit: { readonly maxMembers: number; readonly maxBlocks: number },
): AsyncGenerator<Window> {
  let blocks: Block[] = [];
  let members = 0;
  for await (const ofChunk of wholeBlocks(chunks, shardBits)) {
    for (const block of ofChunk) {
      const size = hashCount(block.adds) + hashCount(block.removes);
      if (blocks.length > 0 && (members + size > limit.maxMembers || blocks.length >= limit.maxBlocks)) {
        yield { blocks, members };
        blocks = [];
        members = 0;
      }
      blocks.push(block);
      members += size;
    }
  }
  if (blocks.length > 0) yield { blocks, members };
}

// The blocks of each chunk, to be taken to their end before the next chunk's: to await every single one would cost a small merge more than to
// make them. They are cut when they are asked for, so that the first window is on its way before the rest is cut. A shard whose hashes go on in the
// next chunk, or through several, is held back until the next shard begins.
async function* wholeBlocks(chunks: AsyncIterable<SortedChanges>, shardBits: number): AsyncGenerator<Iterable<Block>> {
  const held: HeldBlock = { pieces: [] };
  for await (const chunk of chunks) yield closedBlocks(held, blocksOf(chunk, shardBits));
  if (held.pieces.length > 0) yield [joinPieces(held.pieces)];
}

interface HeldBlock {
  pieces: Block[];
}

function* closedBlocks(held: HeldBlock, pieces: Iterable<Block>): Generator<Block> {
  for (const piece of pieces) {
    const { pieces: before } = held;
    if (before.length === 0 || before[0]?.shard === piece.shard) {
      before.push(piece);
    } else {
      // Another array: to empty this one costs as much as all else that is done for a block.
      held.pieces = [piece];
      yield joinPieces(before);
    }
  }
}

function joinPieces(pieces: readonly Block[]): Block {
  const [first] = pieces;
  if (first !== undefined && pieces.length === 1) return first;
  return {
    shard: first?.shard ?? 0,
    adds: concatHashes(pieces.map((piece) => piece.adds)),
    removes: concatHashes(pieces.map((piece) => piece.removes)),
  };
}

function* blocksOf({ adds, removes }: SortedChanges, shardBits: number): Generator<Block> {
  const addCount = hashCount(adds);
  const removeCount = hashCount(removes);
  let add = 0;
  let remove = 0;
  while (add < addCount || remove < removeCount) {
    const shard = Math.min(
      add < addCount ? shardOf(adds, add, shardBits) : Number.POSITIVE_INFINITY,
      remove < removeCount ? shardOf(removes, remove, shardBits) : Number.POSITIVE_INFINITY,
    );
    const addEnd = endOfShard(adds, add, addCount, shard, shardBits);
    const removeEnd = endOfShard(removes, remove, removeCount, shard, shardBits);
    yield { shard, adds: hashesBetween(adds, add, addEnd), removes: hashesBetween(removes, remove, removeEnd) };
    add = addEnd;
    remove = removeEnd;
  }
}

const NO_HASHES: ContextHashes = new Uint8Array(0);

// A view costs as much as several changes; most blocks of a small delta need one.
function hashesBetween(hashes: ContextHashes, start: number, end: number): ContextHashes {
  if (start === end) return NO_HASHES;
  return hashes.subarray(start * CONTEXT_HASH_BYTES, end * CONTEXT_HASH_BYTES);
}

function endOfShard(hashes: ContextHashes, start: number, count: number, shard: number, shardBits: number): number {
  let end = start;
  while (end < count && shardOf(hashes, end, shardBits) === shard) end++;
  return end;
}
