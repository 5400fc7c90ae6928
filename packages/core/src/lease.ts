// The right to write one segment: taken with a token that only grows, renewed while work goes on, given back by the write
// that finishes the work.

import type { Engine } from "./engine.js";
import { isLossOfMembers, isRollcallError, RollcallError, throwIfAborted } from "./errors.js";
import type { SegmentKey } from "./names.js";
import { updateSegment } from "./registry.js";
import type { SyncReport } from "./report.js";
import type { CallOptions } from "./rollcall.js";
import { freshRevision, LIST_NAMES, type ListName, type MemberSet, type Segment } from "./segment.js";
import type { Fence, Timeline } from "./store.js";

// A writer looks for its own note at once after a lost reply, so a few are enough.
const RECENT_SYNCS = 16;

/** A lease that is held. */
export interface HeldLease {
  readonly fence: Fence;
  /** The record as it was when the lease was taken, the lease in it. */
  readonly segment: Segment;
  /** Whether the count of each list was exact before the lease was taken. */
  readonly wasExact: Readonly<Record<ListName, boolean>>;
  /** Whether the writer before never gave its lease back: it died, failed or lost it. */
  readonly tookOver: boolean;
  /** Fires when the caller aborts, another writer takes over, or the database begins another timeline. */
  readonly signal: AbortSignal;
  /**
   * Changes the record without ending the lease. @throws `stale_lease` if the lease is no longer held, or if the database is in another timeline
   * than the one in which it was taken: writes of this lease may be lost.
   */
  update(change: (current: Segment) => Segment): Promise<Segment>;
  /**
   * Changes the record, gives the lease back and adds the reports that `reports` makes of the changed record to the history, oldest first, all in
   * one step: so they are there exactly once when this resolves. Answers the record as this writer wrote it. @throws as {@link update}.
   */
  finish(
    change: (current: Segment) => Segment,
    reports?: (finished: Segment) => readonly SyncReport[],
  ): Promise<Segment>;
}

/** What {@link withLease} needs to know. */
export interface LeaseRequest {
  readonly segmentKey: SegmentKey;
  /**
   * Lists whose members are going to change in place: where they have a set, their counts are inexact from now until the finish. That the
   * set of another list has lost its fence or members does not stand against the work, which may be what replaces it.
   */
  readonly changes: readonly ListName[];
  /**
   * Looks at the record before the lease is taken, in the same compare-and-swap: throws what speaks against the work, and
   * answers the record to work on, which may be a new one. `undefined` means that there is nothing to do.
   */
  readonly prepare: (current: Segment | undefined) => Segment | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: CallOptions["onProgress"];
}

/** What came of taking a lease: the work's result, or nothing because `prepare` found nothing to do. */
export type Leased<T> = { readonly result: T } | undefined;

/**
 * Takes the lease, does `work`, and sees to it that the lease does not outlive it. If the work fails the lease is left
 * expired but not released, so that the next writer raises the fence before anything else.
 * @throws `segment_busy` after `leaseWaitMs`; `aborted`; what `prepare` and `work` throw.
 */
export async function withLease<T>(
  engine: Engine,
  request: LeaseRequest,
  work: (lease: HeldLease) => Promise<T>,
): Promise<Leased<T>> {
  const taken = await take(engine, request);
  if (taken === undefined) return undefined;
  const { segment, prepared, timeline } = taken;
  const fence: Fence = {
    segmentKey: segment.key,
    generation: segment.generation,
    holder: segment.lease.holder ?? "",
    token: segment.lease.token,
  };
  const stop = new AbortController();
  const lost = new AbortController();
  const signal = request.signal === undefined ? lost.signal : AbortSignal.any([lost.signal, request.signal]);
  let finished = false;
  /** As it was when this writer wrote it last: usually nobody else has written it since. */
  let guess = segment;
  const renewal = renew(engine, {
    fence,
    timeline,
    stop: stop.signal,
    lost,
    onRenewed(renewed) {
      guess = renewed;
    },
  });

  /** Changes the record by `change`, and sees to it that readers get the whole grace period for what was retired. */
  async function write(
    change: (current: Segment | undefined) => Segment,
    reports?: (written: Segment) => readonly SyncReport[],
  ): Promise<Segment> {
    let decidedAt = engine.clock.monotonic();
    const timed = (current: Segment | undefined) => {
      decidedAt = engine.clock.monotonic();
      return change(current);
    };
    const written = await updateSegment(engine, fence.segmentKey, timed, { guess, timeline, reports });
    guess = written;
    if (engine.clock.monotonic() - decidedAt > engine.options.graceMs / 10)
      await retireFromNow(engine, segment, written);
    return written;
  }

  const lease: HeldLease = {
    fence,
    segment,
    wasExact: {
      included: prepared.included.count.exact,
      excluded: prepared.excluded.count.exact,
    },
    tookOver: taken.tookOver,
    signal,
    update: (change) => write((current) => change(held(current, fence))),
    async finish(change, reports) {
      let own: Segment | undefined;
      const given = (current: Segment | undefined): Segment => {
        if (current !== undefined && isNoted(current, fence)) return current;
        const next = change(held(current, fence));
        const note = { token: fence.token, holder: fence.holder };
        return {
          ...next,
          lease: { token: fence.token, expiresAt: 0 },
          recentSyncs: [...next.recentSyncs, note].slice(-RECENT_SYNCS),
        };
      };
      const found = await write(given, (next) => {
        own = next;
        return reports?.(next) ?? [];
      });
      finished = true;
      // And not what is found after a lost reply, which may be a later writer's.
      const left = own ?? found;
      engine.lastLeft.set(fence.segmentKey, { segment: left, isAlone: taken.isAlone });
      return left;
    },
  };
  try {
    if (taken.tookOver) await raiseFences(engine, lease, request.changes);
    return { result: await work(lease) };
  } catch (error) {
    if (lost.signal.aborted) throw staleLease((lost.signal.reason as RollcallError).message, error);
    throwIfAborted(request.signal);
    throw error;
  } finally {
    // A reason of its own spares the exception that would be made for it.
    stop.abort(finished);
    await renewal;
    if (!finished) await abandon(engine, fence);
  }
}

interface Taken {
  readonly segment: Segment;
  /** The same as `prepare` answered it. */
  readonly prepared: Segment;
  /** Whether the lease before was never released. */
  readonly tookOver: boolean;
  /** In which the lease was taken. */
  readonly timeline: Timeline | undefined;
  /** Whether the record was as the handle left it, as far as it knows. */
  readonly isAlone: boolean;
}

async function take(engine: Engine, request: LeaseRequest): Promise<Taken | undefined> {
  const { clock, options } = engine;
  const holder = freshRevision();
  const left = engine.lastLeft.get(request.segmentKey);
  let guess = left?.isAlone === true ? left.segment : undefined;
  const deadline = clock.monotonic() + options.leaseWaitMs;
  for (let pause = 20; ; pause = Math.min(500, pause * 2)) {
    throwIfAborted(request.signal);
    let taken: Omit<Taken, "timeline"> | undefined;
    let timeline: Timeline | undefined;
    let busy = false;
    const onWritten = (written: Timeline | undefined) => {
      timeline = written;
    };
    const attempt = (current: Segment | undefined) => {
      // The reply was lost, and with it the timeline: written once more, the lease stands in the one that is told then.
      if (current?.lease.holder === holder) return { ...current };
      busy = isActive(current, clock.now());
      const prepared = busy ? undefined : request.prepare(current);
      if (prepared === undefined) {
        taken = undefined;
        return current;
      }
      const segment = lend(prepared, { holder, expiresAt: clock.now() + options.leaseTtlMs, changes: request.changes });
      const isAlone = left === undefined || current?.revision === left.segment.revision;
      taken = { segment, prepared, tookOver: current?.lease.holder !== undefined, isAlone };
      return segment;
    };
    const written = await updateSegment(engine, request.segmentKey, attempt, { guess, onWritten });
    guess = undefined;
    if (!busy) return taken && { ...taken, segment: written ?? taken.segment, timeline };
    request.onProgress?.({ phase: "wait", done: 0 });
    const leftMs = deadline - clock.monotonic();
    if (leftMs <= 0) {
      throw new RollcallError(
        "segment_busy",
        `segment ${request.segmentKey} is being written by another process and stayed so for ${options.leaseWaitMs} ms; retry later`,
      );
    }
    await clock.sleep(Math.min(leftMs, pause * (0.5 + Math.random())), request.signal);
  }
}

/** Whether a writer holds the segment and its time is not up. */
export function isActive(segment: Segment | undefined, now: number): boolean {
  return segment?.lease.holder !== undefined && segment.lease.expiresAt > now;
}

// Staged sets of a writer that is gone become retired at time 0: no reader ever asked for them, a sweep may drop them at once.
function lend(segment: Segment, lease: { holder: string; expiresAt: number; changes: readonly ListName[] }): Segment {
  const next: Segment = {
    ...segment,
    lease: { token: segment.lease.token + 1, holder: lease.holder, expiresAt: lease.expiresAt },
    staged: [],
    retired: [...segment.retired, ...segment.staged.map((set) => ({ set, at: 0 }))],
  };
  for (const list of lease.changes) {
    // A list without a set has no members, whatever becomes of this writer before it records one.
    if (next[list].set === undefined) continue;
    next[list] = { ...next[list], count: { ...next[list].count, exact: false } };
  }
  return next;
}

function held(current: Segment | undefined, fence: Fence): Segment {
  if (
    current !== undefined &&
    current.generation === fence.generation &&
    current.lease.token === fence.token &&
    current.lease.holder === fence.holder
  ) {
    return current;
  }
  throw staleLease(`another writer took over segment ${fence.segmentKey}; run the sync again`);
}

function staleLease(message: string, cause?: unknown): RollcallError {
  return new RollcallError("stale_lease", message, { cause });
}

function isNoted(segment: Segment, fence: Fence): boolean {
  return (
    segment.generation === fence.generation &&
    segment.recentSyncs.some((sync) => sync.token === fence.token && sync.holder === fence.holder)
  );
}

async function raiseFences(engine: Engine, lease: HeldLease, changes: readonly ListName[]): Promise<void> {
  for (const list of LIST_NAMES) {
    const { set } = lease.segment[list];
    const loss = set === undefined ? undefined : await raiseFence(engine, lease, set);
    if (loss !== undefined && changes.includes(list)) throw loss;
  }
}

/** Keeps earlier writers out of `set`. Answers the `corrupt_data` of a set that has lost its fence, or members. */
export async function raiseFence(engine: Engine, lease: HeldLease, set: MemberSet): Promise<RollcallError | undefined> {
  try {
    await engine.retrying(() => engine.store.raiseFence(set, lease.fence), { signal: lease.signal });
    return undefined;
  } catch (cause) {
    if (isLossOfMembers(cause)) return cause;
    if (!isRollcallError(cause, "stale_lease")) throw cause;
    // Refused although the lease is held: then not a newer writer but a lost fence is the reason.
    await lease.update((current) => current);
    const message = `member set ${set.id} of segment ${lease.fence.segmentKey} has lost its fence; run verify with repair`;
    return new RollcallError("corrupt_data", message, { cause });
  }
}

// The process stood still between deciding and writing, so the sets it retired look as if readers had left them long ago.
async function retireFromNow(engine: Engine, before: Segment, done: Segment): Promise<void> {
  const waiting = new Set(before.retired.map(({ set }) => set.id));
  const fresh = new Set(done.retired.filter(({ set, at }) => at > 0 && !waiting.has(set.id)).map(({ set }) => set.id));
  if (fresh.size === 0) return;
  const at = engine.clock.now();
  await updateSegment(engine, before.key, (current) => {
    if (current === undefined || !current.retired.some((entry) => fresh.has(entry.set.id) && entry.at < at))
      return current;
    return {
      ...current,
      retired: current.retired.map((entry) => (fresh.has(entry.set.id) ? { ...entry, at } : entry)),
    };
  });
}

interface Renewal {
  readonly fence: Fence;
  readonly timeline: Timeline | undefined;
  /** Ends it. */
  readonly stop: AbortSignal;
  /** Told with the `stale_lease` when the lease is lost. */
  readonly lost: AbortController;
  /** Gets the record as it is after each renewal. */
  readonly onRenewed: (segment: Segment) => void;
}

async function renew(engine: Engine, { fence, timeline, stop, lost, onRenewed }: Renewal): Promise<void> {
  const { clock, options } = engine;
  while (!stop.aborted) {
    try {
      await clock.sleep(options.leaseTtlMs / 3, stop);
    } catch {
      return;
    }
    try {
      const renewed = (current: Segment | undefined): Segment => {
        if (current !== undefined && (stop.aborted || isNoted(current, fence))) return current;
        const segment = held(current, fence);
        return { ...segment, lease: { ...segment.lease, expiresAt: clock.now() + options.leaseTtlMs } };
      };
      onRenewed(await updateSegment(engine, fence.segmentKey, renewed, { timeline }));
    } catch (error) {
      if (isRollcallError(error, "stale_lease")) {
        lost.abort(error);
        return;
      }
      // The database may be back at the next turn; whether the lease survived is decided by the finish.
      options.warn(error instanceof Error ? error : new Error(String(error)));
    }
  }
}

// Leaves the holder's name in place: a write of this lease may still be on its way, so the next writer must raise the fence. In
// whatever timeline: it says nothing of the members.
async function abandon(engine: Engine, fence: Fence): Promise<void> {
  try {
    await updateSegment(engine, fence.segmentKey, (current) => {
      const mine = current?.lease.holder === fence.holder && current.lease.token === fence.token;
      if (current === undefined || !mine || current.lease.expiresAt === 0) return current;
      return { ...current, lease: { ...current.lease, expiresAt: 0 } };
    });
  } catch (error) {
    // The lease then lasts until it expires, as after a crash.
    engine.options.warn(error instanceof Error ? error : new Error(String(error)));
  }
}
