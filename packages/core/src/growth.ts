// Rewrites a member set with other shards: when its blocks have become too large, or when a repair needs a sound copy.

import { CONTEXT_HASH_BYTES } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { isLossOfMembers, RollcallError, throwIfAborted } from "./errors.js";
import { type HeldLease, withLease } from "./lease.js";
import { createPartitioner, type Partitioner } from "./partitioner.js";
import { buildReport } from "./report.js";
import type { CallOptions } from "./rollcall.js";
import { LIST_NAMES, type ListName, type MemberSet, type Segment } from "./segment.js";
import { chooseShardBits, plannedShardBits } from "./set-size.js";
import { ADD } from "./sorter.js";
import { flipped, writeStagedSet } from "./staged-set.js";

// Two bits: blocks four times larger than they should be.
const BITS_BEHIND = 2;

// Six bits: blocks 64 times larger. What a merge adds may be more than a database takes in one of them.
const BITS_FAR_BEHIND = 6;

/**
 * The shards that a set of `members` members gets before `more` are added, if these are so many more that its blocks would become far too large.
 */
export async function shardBitsWithRoom(
  engine: Engine,
  { shardBits }: MemberSet,
  members: number,
  more: number,
): Promise<number | undefined> {
  if (more <= members) return undefined;
  // By its own size alone, so that nothing need be read.
  const all = members + more;
  if (engine.store.chooseShardBits({ members: all, contexts: all }) < shardBits + BITS_FAR_BEHIND) return undefined;
  return plannedShardBits(engine, all);
}

/**
 * The set of the list, with room for so many more members: where its blocks would become far too large, a copy with smaller ones, to which the
 * list is flipped before anything is added. The count stays marked as it is while a list changes.
 * @throws `corrupt_data` if members are missing.
 */
export async function setWithRoom(
  engine: Engine,
  lease: HeldLease,
  list: ListName,
  set: MemberSet,
  more: number,
  onProgress?: CallOptions["onProgress"],
): Promise<MemberSet> {
  const { count } = lease.segment[list];
  const shardBits = await shardBitsWithRoom(engine, set, count.value, more);
  if (shardBits === undefined) return set;
  const { members, loss } = await scanSet(engine, set, { signal: lease.signal, onProgress });
  try {
    if (loss !== undefined) throw loss;
    // Also where it has none: what is added needs the room.
    const atLeastOne = Math.max(1, members.count);
    const staged = await writeStagedSet(engine, lease, atLeastOne, members.chunks(), { shardBits });
    const { set: copy } = staged;
    // More may be there than was counted, where fences guard blocks: they are members all the same.
    if (staged.adds < count.value) requireSameCount(lease, list, staged.adds);
    if (copy === undefined) return set;
    await lease.update((current) => {
      if (current[list].set?.id === copy.id) return current;
      const next = flipped(current, list, staged, engine.clock.now());
      return { ...next, [list]: { ...next[list], count: current[list].count } };
    });
    return copy;
  } finally {
    await members.dispose();
  }
}

/** Rewrites the lists of `segment` whose blocks have become four times too large. What goes wrong is a warning: the segment is sound as it is. */
export async function growIfNeeded(engine: Engine, segment: Segment): Promise<void> {
  for (const list of LIST_NAMES) {
    const { set, count } = segment[list];
    if (set === undefined) continue;
    try {
      const shardBits = await chooseShardBits(engine, count.value);
      if (shardBits >= set.shardBits + BITS_BEHIND) await rewriteSet(engine, segment, list, set);
    } catch (error) {
      const message = `segment ${segment.key} could not be rewritten with smaller blocks; the next merge tries again`;
      engine.options.warn(new Error(message, { cause: error }));
    }
  }
}

/** Options of {@link rewriteSet}. */
export interface RewriteOptions extends CallOptions {
  /** Whether to make do with the members that are left. */
  readonly repair?: boolean | undefined;
}

/**
 * Copies the members of the list into a fresh set and flips to it, unless the list has moved on from `set` meanwhile.
 * @throws `corrupt_data` if members are missing.
 */
export async function rewriteSet(
  engine: Engine,
  { key }: Segment,
  list: ListName,
  set: MemberSet,
  options: RewriteOptions = {},
): Promise<void> {
  const { clock } = engine;
  const startedAt = clock.now();
  const started = clock.monotonic();
  await withLease(
    engine,
    {
      segmentKey: key,
      changes: [],
      signal: options.signal,
      prepare: (current) => (current?.state === "live" && current[list].set?.id === set.id ? current : undefined),
    },
    async (lease) => {
      const { members, loss } = await scanSet(engine, set, { ...options, signal: lease.signal });
      try {
        if (loss !== undefined && options.repair !== true) throw loss;
        const staged = await writeStagedSet(engine, lease, members.count, members.chunks());
        if (options.repair !== true) requireSameCount(lease, list, staged.adds);
        await lease.finish(
          (current) => flipped(current, list, staged, clock.now()),
          (after) => [
            buildReport({
              request: { segmentKey: key, contextKind: after.contextKind },
              mode: "grow",
              lists: [list],
              outcome: "applied",
              unchanged: { value: staged.adds, exact: true },
              after,
              startedAt,
              durationMs: clock.monotonic() - started,
            }),
          ],
        );
      } finally {
        await members.dispose();
      }
    },
  );
}

// What is left out here would be gone for good, under a count that is marked exact.
function requireSameCount({ segment, wasExact }: HeldLease, list: ListName, found: number): void {
  const { value } = segment[list].count;
  if (!wasExact[list] || found === value) return;
  const message = `segment ${segment.key} has ${found} ${list} members and not ${value}, as its record says; run verify with repair`;
  throw new RollcallError("corrupt_data", message);
}

/** What {@link scanSet} found. */
export interface ScannedSet {
  /** The members, which the caller disposes of. */
  readonly members: Partitioner;
  /** The `corrupt_data` of a set that has lost members. */
  readonly loss: RollcallError | undefined;
}

/** All members of a set in a partitioner. */
export async function scanSet(
  { store, options }: Pick<Engine, "store" | "options">,
  set: MemberSet,
  call: CallOptions,
): Promise<ScannedSet> {
  const partitioner = createPartitioner({ memoryLimitBytes: options.memoryLimitBytes, tempDir: options.tempDir });
  try {
    for await (const hashes of store.scanMembers(set)) {
      if (hashes.length % CONTEXT_HASH_BYTES !== 0)
        throw new RollcallError("corrupt_data", `member set ${set.id} holds a broken block; run verify`);
      partitioner.appendHashes(hashes, ADD);
      if (partitioner.overLimit) await partitioner.spill();
      throwIfAborted(call.signal);
      call.onProgress?.({ phase: "scan", done: partitioner.count });
    }
    if (partitioner.spilled) await partitioner.spill();
    return { members: partitioner, loss: undefined };
  } catch (error) {
    // The store says so when it has answered all that is left.
    if (isLossOfMembers(error)) return { members: partitioner, loss: error };
    await partitioner.dispose();
    throw error;
  }
}
