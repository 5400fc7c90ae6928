// Drops member sets that nobody needs any more: retired ones past their grace period, staged ones whose writer is gone,
// and those that were allocated by a writer that died before it could record them.

import type { Engine } from "./engine.js";
import { throwIfAborted } from "./errors.js";
import { isActive } from "./lease.js";
import { updateSegment } from "./registry.js";
import type { CallOptions, SweepReport } from "./rollcall.js";
import { freshRevision, LIST_NAMES, type MemberSet, type MemberSetId, type Segment } from "./segment.js";
import type { StoredMemberSet } from "./store.js";

/** See `Rollcall.sweep`. */
export async function sweep(engine: Engine, options: CallOptions): Promise<SweepReport> {
  const { store, clock, retrying } = engine;
  const { signal, onProgress } = options;
  // In this order: a set that is allocated later is not listed, and the segment of one allocated before shows its writer.
  const known = await retrying(() => store.listMemberSets(), { signal });
  const segments = await retireAbandoned(engine, known, await retrying(() => store.listSegments(), { signal }));
  const now = clock.now();
  const isDue = ({ at }: { at: number }) => at + engine.options.graceMs <= now || at === 0;
  const inUse = new Set(segments.flatMap((segment) => pointedAt(segment).map((set) => set.id)));
  const retired = segments.flatMap((segment) => segment.retired.filter((entry) => !inUse.has(entry.set.id)));
  const orphans = await confirmOrphans(engine, findOrphans(known, segments, now), options);
  const due = uniqueSets([...retired.filter(isDue).map(({ set }) => set), ...orphans]);
  let dropped = 0;
  if (due.length > 0) {
    throwIfAborted(signal);
    onProgress?.({ phase: "drop", done: 0, total: due.length });
    await retrying(() => store.dropMemberSets(due), { signal });
    const ids = new Set(due.map((set) => set.id));
    for (const segment of segments) await removeRetired(engine, segment, ids);
    dropped = due.length;
    onProgress?.({ phase: "drop", done: dropped, total: dropped });
  }
  const waiting =
    retired.filter((entry) => !isDue(entry)).length + segments.reduce((sum, { staged }) => sum + staged.length, 0);
  return { droppedSets: dropped, waitingSets: waiting };
}

/** Sets that no segment points at in any way, and whose allocator is not at work any more. */
export function findOrphans(
  known: readonly StoredMemberSet[],
  segments: readonly Segment[],
  now: number,
): StoredMemberSet[] {
  const byKey = new Map<string, Segment>(segments.map((segment) => [segment.key, segment]));
  const owned = new Set(
    segments.flatMap((segment) =>
      [...pointedAt(segment), ...segment.retired.map(({ set }) => set)].map(({ id }) => id),
    ),
  );
  return known.filter(({ id, fence }) => {
    if (owned.has(id)) return false;
    const segment = fence === undefined ? undefined : byKey.get(fence.segmentKey);
    return !(isActive(segment, now) && segment?.lease.holder === fence?.holder);
  });
}

/** Those of `orphans` that the record of their segment, read once more, does not know either: a list that lacks a segment must not cost its members. */
export async function confirmOrphans(
  { store, clock, retrying }: Engine,
  orphans: readonly StoredMemberSet[],
  { signal }: CallOptions,
): Promise<StoredMemberSet[]> {
  const confirmed: StoredMemberSet[] = [];
  for (const orphan of orphans) {
    const { fence } = orphan;
    const owner = fence && (await retrying(() => store.getSegment(fence.segmentKey), { signal }));
    confirmed.push(...findOrphans([orphan], owner === undefined ? [] : [owner], clock.now()));
  }
  return confirmed;
}

/** The sets that a segment's lists and its snapshot under way use. */
export function pointedAt(segment: Segment): MemberSet[] {
  return [...LIST_NAMES.map((list) => segment[list].set).filter((set) => set !== undefined), ...segment.staged];
}

/**
 * Takes over every lease that has expired while its writer had a set under way, staged or allocated only: from then on that
 * writer can record nothing, and what it left may be dropped. Answers the segments as they are then.
 */
export async function retireAbandoned(
  engine: Engine,
  known: readonly StoredMemberSet[],
  segments: readonly Segment[],
): Promise<Segment[]> {
  const recorded = new Set(segments.flatMap((segment) => pointedAt(segment).map(({ id }) => id)));
  const unrecorded = new Set(known.filter(({ id }) => !recorded.has(id)).map(({ fence }) => fence?.holder));
  return Promise.all(
    segments.map(async (segment) => {
      const { holder } = segment.lease;
      const left = holder !== undefined && unrecorded.has(holder);
      return segment.staged.length > 0 || left ? takeOver(engine, segment) : segment;
    }),
  );
}

// The lease is left expired but not released: another write of that writer may be on its way, and the next one must raise
// the fence.
async function takeOver(engine: Engine, segment: Segment): Promise<Segment> {
  const holder = freshRevision();
  return (
    (await updateSegment(engine, segment.key, (current) => {
      if (current?.lease.holder === undefined && (current?.staged.length ?? 0) === 0) return current;
      if (current === undefined || current.lease.holder === holder || isActive(current, engine.clock.now()))
        return current;
      return {
        ...current,
        lease: { token: current.lease.token + 1, holder, expiresAt: 0 },
        staged: [],
        retired: [...current.retired, ...current.staged.map((set) => ({ set, at: 0 }))],
      };
    })) ?? segment
  );
}

async function removeRetired(engine: Engine, segment: Segment, dropped: ReadonlySet<MemberSetId>): Promise<void> {
  if (!segment.retired.some(({ set }) => dropped.has(set.id))) return;
  await updateSegment(engine, segment.key, (current) => {
    if (current === undefined || !current.retired.some(({ set }) => dropped.has(set.id))) return current;
    return { ...current, retired: current.retired.filter(({ set }) => !dropped.has(set.id)) };
  });
}

function uniqueSets(sets: readonly MemberSet[]): MemberSet[] {
  return [...new Map(sets.map(({ id, shardBits }) => [id, { id, shardBits }])).values()];
}
