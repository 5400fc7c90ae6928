// merge: applies deltas. Small deltas that arrive for one segment while it is being written are committed as one group.

import type { Consumption } from "./consumption.js";
import { hashCount } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { RollcallError, throwIfAborted } from "./errors.js";
import { growIfNeeded, setWithRoom, shardBitsWithRoom } from "./growth.js";
import { type Intake, readDelta } from "./intake.js";
import { type HeldLease, withLease } from "./lease.js";
import type { Delta } from "./members.js";
import { createPartitioner } from "./partitioner.js";
import { buildReport, type SyncReport } from "./report.js";
import type { MergeOptions, Progress } from "./rollcall.js";
import { type Count, LIST_NAMES, type ListName, listNameSchema, type MemberSet, type Segment } from "./segment.js";
import { chooseShardBits, plannedShardBits } from "./set-size.js";
import {
  countBySet,
  countMembers,
  type Mutable,
  NOTHING_WRITTEN,
  type WriteResult,
  writeMembers,
} from "./set-writer.js";
import { ADD, REMOVE } from "./sorter.js";
import { allocateSet } from "./staged-set.js";
import type { PlannedList } from "./store.js";
import { admit, applied, parseSyncRequest, type SyncRequest } from "./sync-request.js";

/** Changes that one group takes together; a larger delta is committed alone. */
const MOST_GROUPED_CHANGES = 100_000;
/** Merges that may wait for one segment. */
const MOST_WAITING = 100_000;

interface PendingMerge {
  readonly request: SyncRequest;
  readonly list: ListName;
  readonly intake: Intake;
  readonly options: MergeOptions;
  readonly startedAt: number;
  readonly started: number;
  settle(outcome: { readonly report: SyncReport } | { readonly error: unknown }): void;
}

/** Commits merges, one group at a time for each segment. */
export interface MergeQueue {
  merge(segmentKey: string, delta: Delta, options: MergeOptions): Promise<SyncReport>;
  /** Resolves when nothing is under way any more, growth after a merge included. */
  drain(): Promise<void>;
}

/** Makes an empty queue. */
export function createMergeQueue(engine: Engine): MergeQueue {
  const waiting = new Map<string, PendingMerge[]>();
  const working = new Map<string, Promise<void>>();

  function enqueue(merge: PendingMerge): void {
    const key = merge.request.segmentKey;
    const queue = waiting.get(key) ?? [];
    if (queue.length >= MOST_WAITING) {
      throw new RollcallError(
        "segment_busy",
        `${MOST_WAITING} merges already wait for segment ${key}; send them in larger batches`,
      );
    }
    queue.push(merge);
    waiting.set(key, queue);
    if (!working.has(key)) {
      working.set(key, work(key));
    }
  }

  async function work(key: string): Promise<void> {
    for (;;) {
      const queue = waiting.get(key) ?? [];
      waiting.delete(key);
      const group = takeGroup(queue);
      if (queue.length > 0) waiting.set(key, queue);
      if (group.length === 0) {
        // In the same turn in which the queue was found empty: who comes later starts anew.
        working.delete(key);
        return;
      }
      await commit(engine, group);
    }
  }

  return {
    async drain() {
      while (working.size > 0) await Promise.all(working.values());
    },
    async merge(segmentKey, delta, options) {
      const { clock } = engine;
      const startedAt = clock.now();
      const started = clock.monotonic();
      const request = parseSyncRequest(segmentKey, options);
      const list = listNameSchema.safeParse(options.list ?? "included");
      if (!list.success) throw new RollcallError("invalid_request", "option list must be 'included' or 'excluded'");
      requireDelta(delta);
      const { memoryLimitBytes } = engine.options;
      const intake = await readDelta(engine, delta, {
        ...options,
        memberFormat: request.memberFormat,
        memoryLimitBytes,
      });
      try {
        const pending = { request, list: list.data, intake, options, startedAt, started };
        if (options.dryRun === true) return await plan(engine, pending);
        return await new Promise<SyncReport>((resolve, reject) => {
          enqueue({
            ...pending,
            settle: (outcome) => ("report" in outcome ? resolve(outcome.report) : reject(outcome.error)),
          });
        });
      } finally {
        await intake.partitioner.dispose();
      }
    },
  };
}

function requireDelta(delta: unknown): asserts delta is Delta {
  const fields = typeof delta === "object" && delta !== null && !Array.isArray(delta) ? Object.keys(delta) : [];
  const isDelta = fields.every((field) => ["changes", "add", "remove"].includes(field)) && fields.length > 0;
  if (isDelta) return;
  throw new RollcallError(
    "invalid_request",
    "a delta must be { changes: … } or { add: …, remove: … }, each an iterable",
  );
}

function takeGroup(queue: PendingMerge[]): PendingMerge[] {
  const group: PendingMerge[] = [];
  let changes = 0;
  while (
    queue[0] !== undefined &&
    (group.length === 0 || changes + queue[0].intake.partitioner.count <= MOST_GROUPED_CHANGES)
  ) {
    const merge = queue.shift();
    if (merge === undefined) break;
    changes += merge.intake.partitioner.count;
    group.push(merge);
  }
  return group;
}

/** What the record says to each merge of a group. */
interface Sorting {
  readonly accepted: PendingMerge[];
  readonly repeats: PendingMerge[];
  readonly refused: Map<PendingMerge, unknown>;
}

async function commit(engine: Engine, asked: readonly PendingMerge[]): Promise<void> {
  const group = asked.filter((merge) => !refuseAborted(merge));
  const [first] = group;
  if (first === undefined) return;
  let sorting: Sorting = { accepted: [], repeats: [], refused: new Map() };
  let seen: Segment | undefined;
  try {
    const leasing = withLease(
      engine,
      {
        segmentKey: first.request.segmentKey,
        changes: LIST_NAMES.filter((list) => group.some((merge) => merge.list === list)),
        // A group is not ended by one of its callers.
        signal: group.length === 1 ? first.options.signal : undefined,
        onProgress: tellAll(engine, group),
        prepare(current) {
          const sorted = sortOut(current, group, engine.clock.now());
          ({ sorting, segment: seen } = sorted);
          return sorting.accepted.length > 0 ? sorted.base : undefined;
        },
      },
      (lease) => writeGroup(engine, lease, sorting.accepted),
    );
    sortAhead(group);
    const leased = await leasing;
    for (const [merge, error] of sorting.refused) merge.settle({ error });
    const after = leased?.result.after ?? seen;
    if (after === undefined) return;
    for (const merge of sorting.repeats)
      merge.settle({ report: reportOf(engine, merge, { outcome: "already_applied", after }) });
    if (leased === undefined) return;
    for (const { merge, report } of reportAll(engine, sorting.accepted, leased.result)) merge.settle({ report });
    await growIfNeeded(engine, leased.result.after);
  } catch (error) {
    for (const merge of group) merge.settle({ error: sorting.refused.get(merge) ?? error });
  }
}

// While the database grants the lease. What fails here fails again where the changes are read, under the lease.
function sortAhead(merges: readonly PendingMerge[]): void {
  try {
    for (const merge of merges) merge.intake.partitioner.sortAhead();
  } catch {}
}

// What one caller's callback throws must not fail the others, whose changes are in the same write.
function tellAll({ options }: Engine, merges: readonly PendingMerge[]): (progress: Progress) => void {
  return (progress) => {
    for (const merge of merges) {
      try {
        merge.options.onProgress?.(progress);
      } catch (error) {
        options.warn(error instanceof Error ? error : new Error(String(error)));
      }
    }
  };
}

function refuseAborted(merge: PendingMerge): boolean {
  try {
    throwIfAborted(merge.options.signal);
    return false;
  } catch (error) {
    merge.settle({ error });
    return true;
  }
}

// Each merge is checked against the record as the accepted ones before it leave it.
function sortOut(
  current: Segment | undefined,
  group: readonly PendingMerge[],
  now: number,
): { sorting: Sorting; base: Segment | undefined; segment: Segment | undefined } {
  const sorting: Sorting = { accepted: [], repeats: [], refused: new Map() };
  let base: Segment | undefined;
  let segment = current;
  for (const merge of group) {
    try {
      const admission = admit(segment, merge.request, now);
      if (admission.repeat) {
        sorting.repeats.push(merge);
      } else {
        base ??= admission.segment;
        sorting.accepted.push(merge);
        segment = applied(admission.segment, merge.request, now);
      }
    } catch (error) {
      sorting.refused.set(merge, error);
    }
  }
  return { sorting, base, segment };
}

interface ListResult extends WriteResult {
  readonly group: number;
  readonly count: Count;
}

interface GroupResult {
  readonly after: Segment;
  readonly lists: ReadonlyMap<ListName, ListResult>;
}

async function writeGroup(engine: Engine, lease: HeldLease, merges: readonly PendingMerge[]): Promise<GroupResult> {
  const lists = new Map<ListName, ListResult>();
  for (const list of LIST_NAMES) {
    const members = merges.filter((merge) => merge.list === list);
    if (members.length === 0) continue;
    const { set, ...written } = await writeList(engine, lease, list, members);
    lists.set(list, { ...written, group: members.length, count: await countAfter(engine, lease, list, set, written) });
  }
  const change = (current: Segment) => {
    const now = engine.clock.now();
    const next = { ...merges.reduce((segment, merge) => applied(segment, merge.request, now), current) };
    // A list that no accepted merge changes was marked inexact for a merge that was refused.
    for (const list of LIST_NAMES)
      next[list] = { ...next[list], count: lists.get(list)?.count ?? untouched(lease, list) };
    return next;
  };
  const after = await lease.finish(change, (after) => joinByList(reportAll(engine, merges, { after, lists })));
  return { after, lists };
}

function untouched(lease: HeldLease, list: ListName): Count {
  return { ...lease.segment[list].count, exact: lease.wasExact[list] };
}

// What a writer that died had changed is not in the stored count. Where the fence keeps all its writes out, counting
// the set once mends that; else the count stays marked until `verify`.
async function countAfter(
  { store }: Engine,
  lease: HeldLease,
  list: ListName,
  set: MemberSet,
  { added, removed, exact }: WriteResult,
): Promise<Count> {
  if (!lease.wasExact[list] && lease.tookOver && store.capabilities.fencing === "set") {
    return { value: await countBySet(store, set, lease.signal), exact: true };
  }
  const before = lease.segment[list].count.value;
  return { value: Math.max(0, before + added - removed), exact: lease.wasExact[list] && exact };
}

async function writeList(
  engine: Engine,
  lease: HeldLease,
  list: ListName,
  merges: readonly PendingMerge[],
): Promise<WriteResult & { readonly set: MemberSet }> {
  const combined = createPartitioner({
    memoryLimitBytes: engine.options.memoryLimitBytes,
    tempDir: engine.options.tempDir,
  });
  try {
    const [only] = merges;
    const changes = only !== undefined && merges.length === 1 ? only.intake.partitioner : combined;
    if (changes === combined) {
      for (const merge of merges) {
        for await (const chunk of merge.intake.partitioner.chunks()) {
          combined.appendHashes(chunk.adds, ADD);
          combined.appendHashes(chunk.removes, REMOVE);
        }
      }
    }
    const total = changes.count;
    const tell = tellAll(engine, merges);
    let done = 0;
    const present = lease.segment[list].set;
    const set =
      present === undefined
        ? await createSet(engine, lease, list, total)
        : await setWithRoom(engine, lease, list, present, changes.adds, tell);
    const written = await writeMembers(engine, lease, set, changes.chunks(), {
      onWritten(members) {
        done += members;
        tell({ phase: "write", done, total });
      },
    });
    return { ...written, set };
  } finally {
    await combined.dispose();
  }
}

// The set is in the record before its first block, so that no crash leaves members that nobody knows of; and from then on
// the count is inexact, as of any list that is being changed.
async function createSet(engine: Engine, lease: HeldLease, list: ListName, members: number) {
  const set = await allocateSet(engine, lease, await chooseShardBits(engine, members));
  await lease.update((current) =>
    current[list].set?.id === set.id
      ? current
      : { ...current, [list]: { set, count: { ...current[list].count, exact: false } } },
  );
  return set;
}

interface ReportedMerge {
  readonly merge: PendingMerge;
  readonly report: SyncReport;
}

function reportAll(engine: Engine, merges: readonly PendingMerge[], { after, lists }: GroupResult): ReportedMerge[] {
  return merges.map((merge) => {
    const result = lists.get(merge.list);
    return { merge, report: reportOf(engine, merge, { outcome: "applied", after, result }) };
  });
}

// A group is one entry of the history for each list: it was one write.
function joinByList(reported: readonly ReportedMerge[]): SyncReport[] {
  return LIST_NAMES.flatMap((list) => {
    const joined = joinReports(reported.filter(({ merge }) => merge.list === list).map(({ report }) => report));
    return joined === undefined ? [] : [joined];
  });
}

function joinReports(reports: readonly SyncReport[]): SyncReport | undefined {
  const [first] = reports;
  if (first === undefined || reports.length === 1) return first;
  const { syncId: _ofOne, source: _ofOneToo, ...common } = first;
  return {
    ...common,
    received: reports.reduce((sum, report) => sum + report.received, 0),
    rejected: { count: reports.reduce((sum, report) => sum + report.rejected.count, 0), listed: [] },
    startedAt: Math.min(...reports.map((report) => report.startedAt)),
    durationMs: Math.max(...reports.map((report) => report.durationMs)),
  };
}

interface ReportedResult {
  readonly outcome: SyncReport["outcome"];
  readonly after: Pick<Segment, "included" | "excluded">;
  readonly result?: Omit<ListResult, "count"> | undefined;
  readonly estimate?: Consumption | undefined;
}

function reportOf(
  { clock }: Engine,
  merge: PendingMerge,
  { outcome, after, result, estimate }: ReportedResult,
): SyncReport {
  const { request, list, intake, startedAt, started } = merge;
  const count = (value: number): Count => ({ value, exact: result?.exact ?? true });
  return buildReport({
    request,
    mode: "merge",
    lists: [list],
    outcome,
    received: intake.received,
    rejected: intake.rejected,
    after,
    ...(result === undefined
      ? {}
      : {
          duplicates: result.duplicates,
          added: count(result.added),
          removed: count(result.removed),
          unchanged: count(Math.max(0, result.adds + result.removes - result.added - result.removed)),
          group: result.group,
        }),
    ...(estimate === undefined ? {} : { estimate }),
    startedAt,
    durationMs: clock.monotonic() - started,
  });
}

type Planned = Omit<PendingMerge, "settle">;

// A dry run reads without the lease, so what it says holds only as long as nobody else writes.
async function plan(engine: Engine, merge: Planned): Promise<SyncReport> {
  const { store, clock, retrying } = engine;
  const { request, list, intake, options } = merge;
  const { segment, repeat } = admit(await retrying(() => store.getSegment(request.segmentKey)), request, clock.now());
  const pending = { ...merge, settle: () => undefined };
  if (repeat) return reportOf(engine, pending, { outcome: "already_applied", after: segment });
  const { set, count } = segment[list];
  const result: Mutable<WriteResult> & { group: number } = { ...NOTHING_WRITTEN, group: 1 };
  for await (const chunk of intake.partitioner.chunks()) {
    const [adds, removes] = [hashCount(chunk.adds), hashCount(chunk.removes)];
    result.adds += adds;
    result.removes += removes;
    result.duplicates += chunk.records - adds - removes;
    result.added += adds - (set === undefined ? 0 : await countMembers(engine, [chunk.adds], set, options.signal));
    result.removed += set === undefined ? 0 : await countMembers(engine, [chunk.removes], set, options.signal);
  }
  const after = { included: segment.included, excluded: segment.excluded };
  const members = Math.max(0, count.value + result.added - result.removed);
  after[list] = { count: { value: members, exact: count.exact } };
  // Planned only where somebody asks: it may have to read how large the environment is.
  const estimate = store.estimateSync?.({
    segment,
    lists: await plannedLists(engine, { set, before: count.value, members, adds: intake.partitioner.adds, result }),
  });
  return reportOf(engine, pending, { outcome: "planned", after, result, estimate });
}

interface PlannedMerge {
  readonly set: MemberSet | undefined;
  /** Members before it, and after it. */
  readonly before: number;
  readonly members: number;
  /** Entries that add. */
  readonly adds: number;
  readonly result: Pick<WriteResult, "adds" | "removes">;
}

/** What the merge would write, and first what gives its set smaller blocks. */
async function plannedLists(engine: Engine, planned: PlannedMerge): Promise<PlannedList[]> {
  const { set, before, members, adds, result: changes } = planned;
  if (set === undefined) return [{ shardBits: await plannedShardBits(engine, members), members, changes }];
  const shardBits = await shardBitsWithRoom(engine, set, before, adds);
  if (shardBits === undefined) return [{ shardBits: set.shardBits, members, changes }];
  const replaced = { shardBits: set.shardBits, members: before };
  return [
    { shardBits, members: before, replaced },
    { shardBits, members, changes },
  ];
}
