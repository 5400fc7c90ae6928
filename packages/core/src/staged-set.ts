// A fresh member set, written beside the present one: what `replace`, growth, repair and copy have in common.

import type { Engine } from "./engine.js";
import type { HeldLease } from "./lease.js";
import type { ListName, MemberSet, Segment } from "./segment.js";
import { chooseShardBits } from "./set-size.js";
import { NOTHING_WRITTEN, type WriteOptions, type WriteResult, writeMembers } from "./set-writer.js";
import type { SortedChanges } from "./sorter.js";

/** A list written anew but not yet current. */
export interface StagedSet extends WriteResult {
  /** Absent where the list became empty: an empty list has no set. */
  readonly set: MemberSet | undefined;
}

/** Options of {@link writeStagedSet}. */
export interface StagedWriteOptions extends WriteOptions {
  /** Into how many shards it is cut. Default: as suits `members`. */
  readonly shardBits?: number | undefined;
}

/**
 * Allocates a set, records it as staged before its first block, and writes every block once. `members` is an upper bound
 * on what `chunks` holds.
 */
export async function writeStagedSet(
  engine: Engine,
  lease: HeldLease,
  members: number,
  chunks: AsyncIterable<SortedChanges>,
  { shardBits, ...options }: StagedWriteOptions = {},
): Promise<StagedSet> {
  if (members === 0) return { set: undefined, ...NOTHING_WRITTEN };
  const set = await allocateSet(engine, lease, shardBits ?? (await chooseShardBits(engine, members)));
  await lease.update((current) => {
    if (current.staged.some((staged) => staged.id === set.id)) return current;
    return { ...current, staged: [...current.staged, set] };
  });
  return { set, ...(await writeMembers(engine, lease, set, chunks, options)) };
}

/** Reserves a member set, with this lease's fence. */
export async function allocateSet(engine: Engine, lease: HeldLease, shardBits: number): Promise<MemberSet> {
  return engine.retrying(() => engine.store.allocateMemberSet(shardBits, lease.fence), { signal: lease.signal });
}

/** The record in which the staged set has become the list, exact in count, and the set before it is retired. */
export function flipped(segment: Segment, list: ListName, staged: StagedSet, now: number): Segment {
  const old = segment[list].set;
  return {
    ...segment,
    [list]: { ...(staged.set === undefined ? {} : { set: staged.set }), count: { value: staged.adds, exact: true } },
    staged: segment.staged.filter((set) => set.id !== staged.set?.id),
    retired: old === undefined ? segment.retired : [...segment.retired, { set: old, at: now }],
  };
}
