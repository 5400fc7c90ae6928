// What a reader knows of the registry: an immutable view of all live segments, shaped for answering, and comparable with
// the view before it, so that a cached answer is known to be current or not by one comparison of numbers.

import { ContextCache, type ResolvedContext } from "./context-cache.js";
import type { Environment, MemberSet, MemberSetId, Segment } from "./segment.js";
import type { Epoch } from "./store.js";

/** A live segment, as readers ask about it. */
export interface SegmentView {
  readonly key: string;
  readonly kind: KindView;
  /** 0: the segment has no such set. */
  readonly includedId: MemberSetId | 0;
  readonly excludedId: MemberSetId | 0;
  /**
   * The version of the first snapshot of the unbroken row in which the segment has had these two sets. A context that was
   * resolved from that version or a later one was therefore asked about exactly these sets.
   */
  readonly since: number;
  /** Wall-clock milliseconds; absent before the first sync has finished. */
  readonly lastSyncedAt: number | undefined;
}

/** What a member set is for. */
interface ListView {
  readonly segmentKey: string;
  readonly included: boolean;
  /** Its id alone, as one array that all contexts share which are in this set only. */
  readonly alone: readonly [MemberSetId];
}

/** All live segments of one context kind. */
export interface KindView {
  readonly name: string;
  /** Included and excluded sets of the segments; never a staged or a retired one. */
  readonly sets: readonly MemberSet[];
  readonly listBySet: ReadonlyMap<MemberSetId, ListView>;
  /** The newest `since` of its segments. */
  readonly since: number;
  readonly hasNeverSynced: boolean;
  /** The oldest `lastSyncedAt` of the segments that have one; Infinity if none has. */
  readonly oldestSyncAt: number;
  /** Handed on from snapshot to snapshot. */
  readonly cache: ContextCache;
}

/** The registry as of one moment. */
export interface RegistrySnapshot {
  /** Grows by one with every snapshot of one reader. */
  readonly version: number;
  readonly environmentId: string;
  readonly epoch: Epoch;
  readonly segments: ReadonlyMap<string, SegmentView>;
  readonly kinds: ReadonlyMap<string, KindView>;
  /**
   * The moment before the epoch was last seen unchanged, by the monotonic clock and by the wall clock: a machine that was
   * suspended may have stopped the first.
   */
  asOf: { readonly monotonic: number; readonly wall: number };
}

/** What {@link buildSnapshot} is made from: as read from the store, in the order of the fields. */
export interface RegistryReading {
  readonly asOf: RegistrySnapshot["asOf"];
  readonly epoch: Epoch;
  readonly segments: readonly Segment[];
  readonly environment: Environment;
}

/** Makes the snapshot that follows `previous`. `cacheSize` is that of each kind's cache. */
export function buildSnapshot(
  reading: RegistryReading,
  previous: RegistrySnapshot | undefined,
  cacheSize: number,
): RegistrySnapshot {
  const version = (previous?.version ?? 0) + 1;
  const environmentId = reading.environment.id;
  // Another environment under the same name numbers its sets from the start again: nothing known of the old one counts.
  const known = previous?.environmentId === environmentId ? previous : undefined;
  const kinds = new Map<string, KindBuilder>();
  const segments = new Map<string, SegmentView>();
  for (const segment of reading.segments) {
    if (segment.state !== "live") continue;
    let kind = kinds.get(segment.contextKind);
    if (kind === undefined) {
      kind = startKind(
        segment.contextKind,
        known?.kinds.get(segment.contextKind)?.cache ?? new ContextCache(cacheSize),
      );
      kinds.set(segment.contextKind, kind);
    }
    const view = viewSegment(segment, kind, version, known?.segments.get(segment.key));
    addToKind(kind, view, segment);
    segments.set(segment.key, view);
  }
  return { version, environmentId, epoch: reading.epoch, segments, kinds, asOf: reading.asOf };
}

interface KindBuilder extends KindView {
  readonly sets: MemberSet[];
  readonly listBySet: Map<MemberSetId, ListView>;
  since: number;
  hasNeverSynced: boolean;
  oldestSyncAt: number;
}

function startKind(name: string, cache: ContextCache): KindBuilder {
  return {
    name,
    sets: [],
    listBySet: new Map(),
    since: 0,
    hasNeverSynced: false,
    oldestSyncAt: Number.POSITIVE_INFINITY,
    cache,
  };
}

function viewSegment(segment: Segment, kind: KindView, version: number, before: SegmentView | undefined): SegmentView {
  const includedId = segment.included.set?.id ?? 0;
  const excludedId = segment.excluded.set?.id ?? 0;
  const unchanged =
    before !== undefined &&
    before.includedId === includedId &&
    before.excludedId === excludedId &&
    before.kind.name === kind.name;
  return {
    key: segment.key,
    kind,
    includedId,
    excludedId,
    since: unchanged ? before.since : version,
    lastSyncedAt: segment.lastSyncedAt,
  };
}

function addToKind(kind: KindBuilder, view: SegmentView, segment: Segment): void {
  for (const [set, included] of [
    [segment.included.set, true],
    [segment.excluded.set, false],
  ] as const) {
    if (set === undefined) continue;
    kind.sets.push(set);
    kind.listBySet.set(set.id, { segmentKey: segment.key, included, alone: [set.id] });
  }
  kind.since = Math.max(kind.since, view.since);
  if (view.lastSyncedAt === undefined) kind.hasNeverSynced = true;
  else kind.oldestSyncAt = Math.min(kind.oldestSyncAt, view.lastSyncedAt);
}

/**
 * Whether readers may answer otherwise when `next` has taken the place of `current`, and should hear of it at once. A lease and a staged
 * set show nowhere. A merge shows as caches let it; that it has made a stale segment healthy can wait for the next poll.
 */
export function changesAnswers(current: Segment | undefined, next: Segment): boolean {
  const before = current?.state === "live" ? current : undefined;
  const after = next.state === "live" ? next : undefined;
  if (before === undefined || after === undefined) return before !== after;
  return (
    before.contextKind !== after.contextKind ||
    before.included.set?.id !== after.included.set?.id ||
    before.excluded.set?.id !== after.excluded.set?.id ||
    (before.lastSyncedAt === undefined) !== (after.lastSyncedAt === undefined)
  );
}

/** Whether there is anything to look up for the segment. */
export function hasSets(segment: SegmentView): boolean {
  return segment.includedId !== 0 || segment.excludedId !== 0;
}

/** Whether the segment has any of these sets. */
export function usesAny(segment: SegmentView | undefined, sets: readonly number[]): boolean {
  return segment !== undefined && (sets.includes(segment.includedId) || sets.includes(segment.excludedId));
}

/** What the segment says of a context: included beats excluded. */
export function decide(segment: SegmentView, resolved: ResolvedContext): "included" | "excluded" | "none" {
  const { ids } = resolved;
  if (ids.length === 0) return "none";
  if (segment.includedId !== 0 && ids.includes(segment.includedId)) return "included";
  return segment.excludedId !== 0 && ids.includes(segment.excludedId) ? "excluded" : "none";
}

/** What all segments of the kind say of a context, by segment key: `true` for included, which beats excluded. */
export function decideAll(kind: KindView, resolved: ResolvedContext): Map<string, boolean> {
  const decisions = new Map<string, boolean>();
  for (const id of resolved.ids) {
    const list = kind.listBySet.get(id);
    if (list !== undefined && (list.included || !decisions.has(list.segmentKey)))
      decisions.set(list.segmentKey, list.included);
  }
  return decisions;
}
