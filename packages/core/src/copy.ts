// Moves an environment between any two stores, hashes and all, and proves that the copy is the same.

import type { ContextHashes } from "./context-hashes.js";
import { createEngine, type Engine } from "./engine.js";
import { RollcallError } from "./errors.js";
import { scanSet } from "./growth.js";
import { type HeldLease, isActive, withLease } from "./lease.js";
import { createPartitioner, type Partitioner } from "./partitioner.js";
import { updateEnvironment } from "./registry.js";
import type { SyncReport } from "./report.js";
import type { CallOptions, RollcallOptions } from "./rollcall.js";
import { LIST_NAMES, type ListName, type MemberSet, type Segment } from "./segment.js";
import { deleteSegment } from "./segment-edits.js";
import { flipped, type StagedSet, writeStagedSet } from "./staged-set.js";
import type { SegmentStore } from "./store.js";

/** Options of {@link copy}. */
export interface CopyOptions
  extends CallOptions,
    Pick<
      RollcallOptions,
      "memoryLimitBytes" | "tempDir" | "retry" | "leaseWaitMs" | "leaseTtlMs" | "onWarning" | "clock"
    > {}

/** What {@link copy} did. */
export interface CopyReport {
  readonly segments: number;
  readonly members: number;
}

// A segment that is written all the time is waited for this often.
const TRIES_PER_SEGMENT = 50;

/**
 * Copies every segment with its members, details, positions and history from one opened store to another, and reads each
 * copied set back to compare it. The pepper stays the same without being known. An interrupted copy is completed by the same call.
 * @throws `environment_not_empty` if `to` holds segments of another origin; `segment_busy` if a segment is written all the time; `corrupt_data` if the
 * copy differs from its source.
 */
export async function copy(from: SegmentStore, to: SegmentStore, options: CopyOptions = {}): Promise<CopyReport> {
  const { signal: _, onProgress: _too, ...settings } = options;
  const source = createEngine(from, settings);
  const target = createEngine(to, settings);
  await beginCopy(source, target);
  const segments = await source.retrying(() => from.listSegments(), options);
  let members = 0;
  let copied = 0;
  for (const { key, state } of segments) {
    if (state !== "live") continue;
    members += await copySegment(source, target, key, { ...options, onProgress: progressFrom(members, options) });
    copied++;
  }
  const copiedKeys = new Set<string>(segments.filter(({ state }) => state === "live").map(({ key }) => key));
  for (const { key, state } of await target.retrying(() => to.listSegments(), options)) {
    // An interrupted copy brought it, and the source has deleted it since.
    if (state === "live" && !copiedKeys.has(key)) await deleteSegment(target, key, options);
  }
  await updateEnvironment(target, ({ copyingFrom: _done, ...environment }) => environment);
  return { segments: copied, members };
}

function progressFrom(before: number, { onProgress }: CallOptions): CallOptions["onProgress"] {
  return onProgress && ((progress) => onProgress({ phase: progress.phase, done: before + progress.done }));
}

async function beginCopy(source: Engine, target: Engine): Promise<void> {
  const origin = await source.retrying(() => source.store.getEnvironment());
  const present = await target.retrying(() => target.store.listSegments());
  await updateEnvironment(target, (environment) => {
    if (environment.id === origin.id)
      throw new RollcallError("invalid_request", "source and target are the same environment; name two");
    const isEmpty = !present.some((segment) => segment.state === "live");
    if (!isEmpty && environment.copyingFrom !== origin.id) {
      throw new RollcallError(
        "environment_not_empty",
        `environment ${target.store.environment} holds segments; copy into an empty one`,
      );
    }
    const { pepperCheck: _replaced, ...rest } = environment;
    return {
      ...rest,
      initialized: origin.initialized,
      ...(origin.pepperCheck === undefined ? {} : { pepperCheck: origin.pepperCheck }),
      ...(origin.expectedContexts === undefined ? {} : { expectedContexts: origin.expectedContexts }),
      positions: origin.positions,
      copyingFrom: origin.id,
    };
  });
}

async function copySegment(source: Engine, target: Engine, key: Segment["key"], options: CopyOptions): Promise<number> {
  const read = await readSegment(source, key, options);
  if (read === undefined) return 0;
  const { segment, lists, reports } = read;
  try {
    const leased = await withLease(
      target,
      { segmentKey: key, changes: [], signal: options.signal, prepare: (current) => asTarget(segment, current) },
      async (lease) => {
        const staged = new Map<ListName, StagedSet>();
        let members = 0;
        for (const [list, partitioner] of lists) {
          const written = await copyList(target, lease, partitioner, options);
          staged.set(list, written);
          members += written.adds;
        }
        const missing = await missingReports(target, key, reports);
        const change = (current: Segment) => {
          const { details, positions, recentSyncIds, lastSyncedAt } = segment;
          let next: Segment = { ...current, details, positions, recentSyncIds, lastSyncedAt };
          for (const [list, set] of staged) next = flipped(next, list, set, target.clock.now());
          return next;
        };
        await lease.finish(change, () => missing);
        return members;
      },
    );
    return leased?.result ?? 0;
  } finally {
    for (const partitioner of lists.values()) await partitioner.dispose();
  }
}

interface ReadSegment {
  readonly segment: Segment;
  readonly lists: ReadonlyMap<ListName, Partitioner>;
  /** Its history, newest first. */
  readonly reports: readonly SyncReport[];
}

// What is scanned is one state of the segment only if its record has not moved meanwhile.
async function readSegment(
  source: Engine,
  key: Segment["key"],
  options: CopyOptions,
): Promise<ReadSegment | undefined> {
  const { store, clock, retrying } = source;
  for (let attempt = 0; attempt < TRIES_PER_SEGMENT; attempt++) {
    const segment = await retrying(() => store.getSegment(key), options);
    if (segment?.state !== "live") return undefined;
    if (!isActive(segment, clock.now())) {
      const lists = new Map<ListName, Partitioner>();
      let reports: SyncReport[];
      let isSound = false;
      try {
        reports = await retrying(() => store.getHistory(key), options);
        for (const list of LIST_NAMES) lists.set(list, await scanList(source, segment[list].set, options));
        const after = await retrying(() => store.getSegment(key), options);
        isSound = after?.revision === segment.revision;
      } finally {
        if (!isSound) for (const partitioner of lists.values()) await partitioner.dispose();
      }
      if (isSound) return { segment, lists, reports };
    }
    await clock.sleep(100 + 100 * Math.random(), options.signal);
  }
  throw new RollcallError("segment_busy", `segment ${key} is being written all the time; copy when its syncs pause`);
}

// A list without a set has nothing to scan, and is copied as empty all the same: an earlier copy may have filled it.
async function scanList(source: Engine, set: MemberSet | undefined, options: CopyOptions): Promise<Partitioner> {
  if (set === undefined) return createPartitioner();
  const { members, loss } = await scanSet(source, set, options);
  if (loss === undefined) return members;
  await members.dispose();
  throw loss;
}

// What identifies the segment, and of what is there already what belongs to the store. What says how far the segment is
// comes with its members: until then it must not answer for syncs that it does not hold.
function asTarget(source: Segment, current: Segment | undefined): Segment {
  const { lastSyncedAt: _later, ...record } = source;
  return {
    ...record,
    details: current?.details ?? {},
    positions: [],
    recentSyncIds: [],
    generation: Math.max(source.generation, current?.generation ?? 0),
    lease: current?.lease ?? { token: 0, expiresAt: 0 },
    included: current?.included ?? { count: { value: 0, exact: true } },
    excluded: current?.excluded ?? { count: { value: 0, exact: true } },
    staged: current?.staged ?? [],
    retired: current?.retired ?? [],
    recentSyncs: [],
  };
}

async function copyList(
  target: Engine,
  lease: HeldLease,
  partitioner: Partitioner,
  options: CopyOptions,
): Promise<StagedSet> {
  const expected = createDigest();
  const total = partitioner.count;
  let done = 0;
  async function* digested() {
    for await (const chunk of partitioner.chunks()) {
      expected.add(chunk.adds);
      yield chunk;
    }
  }
  const staged = await writeStagedSet(target, lease, total, digested(), {
    onWritten(members) {
      done += members;
      options.onProgress?.({ phase: "write", done, total });
    },
  });
  const copied = createDigest();
  if (staged.set !== undefined) {
    for await (const hashes of target.store.scanMembers(staged.set)) copied.add(hashes);
  }
  if (copied.value() !== expected.value()) {
    throw new RollcallError(
      "corrupt_data",
      `the copy of segment ${lease.fence.segmentKey} differs from its source; run the copy again`,
    );
  }
  return staged;
}

/** A digest of a set of hashes that does not depend on their order: count, and sum and exclusive or of their words. */
function createDigest() {
  const sums = new Float64Array(4);
  const xors = new Uint32Array(4);
  let count = 0;
  return {
    add(hashes: ContextHashes) {
      const view = new DataView(hashes.buffer, hashes.byteOffset, hashes.byteLength);
      for (let at = 0; at < hashes.byteLength; at += 4) {
        const word = view.getUint32(at);
        const lane = (at >>> 2) & 3;
        sums[lane] = ((sums[lane] as number) + word) % 2 ** 52;
        xors[lane] = (xors[lane] as number) ^ word;
        if (lane === 0) count++;
      }
    },
    value: () => [count, ...sums, ...xors].join(),
  };
}

// What an interrupted copy has brought is there already. Oldest first.
async function missingReports(
  { store, retrying }: Engine,
  key: Segment["key"],
  reports: readonly SyncReport[],
): Promise<SyncReport[]> {
  const [newest] = await retrying(() => store.getHistory(key));
  const present = newest === undefined ? -1 : reports.findIndex((report) => isSameReport(report, newest));
  return reports.slice(0, present < 0 ? reports.length : present).reverse();
}

function isSameReport(a: SyncReport, b: SyncReport): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
