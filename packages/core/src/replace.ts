// replace: afterwards a list holds exactly these members, and every reader sees the old ones until it sees the new ones.

import { hashCount } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { RollcallError } from "./errors.js";
import { type Intake, readSnapshot } from "./intake.js";
import { type HeldLease, withLease } from "./lease.js";
import type { Snapshot } from "./members.js";
import { buildReport, type SyncReport } from "./report.js";
import type { ReplaceOptions } from "./rollcall.js";
import { type Count, LIST_NAMES, type ListName, type Segment } from "./segment.js";
import { plannedShardBits } from "./set-size.js";
import { countBySet, countMembers, unlessLost } from "./set-writer.js";
import { flipped, type StagedSet, writeStagedSet } from "./staged-set.js";
import type { PlannedList } from "./store.js";
import { admit, applied, parseSyncRequest, type SyncRequest } from "./sync-request.js";

/** One list of the snapshot, from reading to flip. */
interface NamedList {
  readonly list: ListName;
  readonly intake: Intake;
}

/** A snapshot on its way into the store. */
interface Replacement {
  readonly request: SyncRequest;
  readonly lists: readonly NamedList[];
  readonly options: ReplaceOptions;
  reportOf(outcome: Outcome): SyncReport;
}

type Outcome = Pick<SyncReport, "outcome"> &
  Partial<Pick<SyncReport, "duplicates" | "added" | "removed" | "unchanged" | "estimate">> & {
    readonly after: Pick<Segment, "included" | "excluded">;
  };

/** See `Rollcall.replace`. */
export async function replace(
  engine: Engine,
  segmentKey: string,
  snapshot: Snapshot,
  options: ReplaceOptions,
): Promise<SyncReport> {
  const { clock } = engine;
  const startedAt = clock.now();
  const started = clock.monotonic();
  const request = parseSyncRequest(segmentKey, options);
  const names = namedLists(snapshot);
  const lists: NamedList[] = [];
  try {
    for (const list of names) {
      const memoryLimitBytes = engine.options.memoryLimitBytes / names.length;
      const intake = await readSnapshot(engine, snapshot[list] ?? [], {
        ...options,
        memberFormat: request.memberFormat,
        memoryLimitBytes,
      });
      lists.push({ list, intake });
    }
    const reportOf = (outcome: Outcome) =>
      buildReport({
        request,
        mode: "replace",
        lists: names,
        received: sum(lists, ({ intake }) => intake.received),
        rejected: {
          count: sum(lists, ({ intake }) => intake.rejected.count),
          listed: lists.flatMap(({ intake }) => intake.rejected.listed),
        },
        ...outcome,
        startedAt,
        durationMs: clock.monotonic() - started,
      });
    return await (options.dryRun === true ? plan : apply)(engine, { request, lists, options, reportOf });
  } finally {
    for (const { intake } of lists) await intake.partitioner.dispose();
  }
}

async function apply(engine: Engine, replacement: Replacement): Promise<SyncReport> {
  const { request, options, reportOf } = replacement;
  let repeated: Segment | undefined;
  const leased = await withLease(
    engine,
    {
      segmentKey: request.segmentKey,
      changes: [],
      signal: options.signal,
      onProgress: options.onProgress,
      prepare(current) {
        const admission = admit(current, request, engine.clock.now());
        repeated = admission.repeat ? admission.segment : undefined;
        return admission.repeat ? undefined : admission.segment;
      },
    },
    (lease) => writeAndFlip(engine, lease, replacement),
  );
  if (leased !== undefined) return leased.result;
  if (repeated === undefined)
    throw new RollcallError("corrupt_data", `segment ${request.segmentKey} could not be prepared`);
  return reportOf({ outcome: "already_applied", after: repeated });
}

async function writeAndFlip(engine: Engine, lease: HeldLease, replacement: Replacement): Promise<SyncReport> {
  const { request, lists, options, reportOf } = replacement;
  const before = lease.segment;
  const present = new Map<ListName, Count>();
  const membersOf = (list: ListName) => present.get(list)?.value ?? 0;
  for (const { list, intake } of lists) {
    present.set(list, await presentMembers(engine, lease, list));
    // An upper bound that fails the guard spares writing what would be refused; the exact count is checked below.
    guardShrink(engine, before, list, membersOf(list), intake.partitioner.count, options);
  }
  const total = sum(lists, ({ intake }) => intake.partitioner.count);
  let done = 0;
  const staged = new Map<ListName, StagedSet>();
  for (const { list, intake } of lists) {
    const written = await writeStagedSet(engine, lease, intake.partitioner.count, intake.partitioner.chunks(), {
      compareWith: before[list].set,
      onWritten(members) {
        done += members;
        options.onProgress?.({ phase: "write", done, total });
      },
    });
    guardShrink(engine, before, list, membersOf(list), written.adds, options);
    staged.set(list, written);
  }
  const sets = [...staged.values()];
  const kept = sum(sets, (set) => set.shared ?? 0);
  const old = sum([...present.values()], ({ value }) => value);
  // A list that had lost members cannot say how many of them come back.
  const exact = sets.every((set) => set.shared !== undefined) && [...present.values()].every((count) => count.exact);
  const changes = {
    duplicates: sum(sets, (set) => set.duplicates),
    added: { value: sum(sets, (set) => set.adds) - kept, exact },
    removed: { value: Math.max(0, old - kept), exact },
    unchanged: { value: kept, exact },
  };
  const flip = (current: Segment) => {
    const now = engine.clock.now();
    let next = applied(current, request, now);
    for (const [list, set] of staged) next = flipped(next, list, set, now);
    return next;
  };
  const reportAfter = (after: Segment) => reportOf({ outcome: "applied", ...changes, after });
  return reportAfter(await lease.finish(flip, (after) => [reportAfter(after)]));
}

// A dry run reads without the lease, so what it says holds only as long as nobody else writes.
async function plan(engine: Engine, { request, lists, options, reportOf }: Replacement): Promise<SyncReport> {
  const { store, clock, retrying } = engine;
  const { segment, repeat } = admit(await retrying(() => store.getSegment(request.segmentKey)), request, clock.now());
  if (repeat) return reportOf({ outcome: "already_applied", after: segment });
  let [kept, wanted, old, duplicates] = [0, 0, 0, 0];
  let isWhole = true;
  const after = { included: segment.included, excluded: segment.excluded };
  const planned: PlannedList[] = [];
  for (const { list, intake } of lists) {
    const { set, count } = segment[list];
    let members = 0;
    for await (const chunk of intake.partitioner.chunks()) {
      members += hashCount(chunk.adds);
      duplicates += chunk.records - hashCount(chunk.adds);
      if (set === undefined) continue;
      const shared = await unlessLost(countMembers(engine, [chunk.adds], set, options.signal));
      kept += shared ?? 0;
      isWhole &&= shared !== undefined;
    }
    guardShrink(engine, segment, list, count.value, members, options);
    wanted += members;
    old += count.value;
    after[list] = { count: exactly(members) };
    // Only where somebody asks: it may have to read how large the environment is.
    if (store.estimateSync === undefined) continue;
    planned.push({
      shardBits: await plannedShardBits(engine, members),
      members,
      replaced: set && { shardBits: set.shardBits, members: count.value },
    });
  }
  const exact = isWhole && lists.every(({ list }) => segment[list].count.exact);
  return reportOf({
    outcome: "planned",
    duplicates,
    added: { value: wanted - kept, exact: isWhole },
    removed: { value: Math.max(0, old - kept), exact },
    unchanged: { value: kept, exact: isWhole },
    after,
    estimate: store.estimateSync?.({ segment, lists: planned }),
  });
}

/** The present members of a list: the stored count where it is exact, else, unless it has lost members, a scan under the lease. */
async function presentMembers({ store }: Engine, lease: HeldLease, list: ListName): Promise<Count> {
  const { set, count } = lease.segment[list];
  if (set === undefined || lease.wasExact[list]) return exactly(count.value);
  const found = await unlessLost(countBySet(store, set, lease.signal));
  return found === undefined ? { value: count.value, exact: false } : exactly(found);
}

function guardShrink(
  { options: { minRemaining } }: Engine,
  segment: Segment,
  list: ListName,
  present: number,
  next: number,
  { allowShrink }: ReplaceOptions,
): void {
  if (allowShrink === true || next >= present * minRemaining) return;
  throw new RollcallError(
    "shrink_guard",
    `the snapshot would leave ${next} of ${present} ${list} members of segment ${segment.key}, less than the share of ${minRemaining} that must remain; check the export, or allow it with allowShrink`,
  );
}

function namedLists(snapshot: Snapshot): ListName[] {
  const names =
    typeof snapshot === "object" && snapshot !== null ? LIST_NAMES.filter((list) => snapshot[list] !== undefined) : [];
  if (names.length > 0) return names;
  throw new RollcallError(
    "invalid_request",
    "a snapshot must name a list: { included: members }, { excluded: members } or both",
  );
}

function exactly(value: number): Count {
  return { value, exact: true };
}

function sum<T>(items: readonly T[], size: (item: T) => number): number {
  return items.reduce((total, item) => total + size(item), 0);
}
