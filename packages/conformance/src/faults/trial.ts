// One trial: a segment with known members, a sync of it that something happens to, and what must be true in the end.

import { randomUUID } from "node:crypto";
import {
  contextHash,
  createRollcall,
  hashAt,
  hashCount,
  isRollcallError,
  type MemberSet,
  type Rollcall,
  RollcallError,
  type RollcallOptions,
  type SegmentStore,
  type SyncReport,
} from "@rollcall/core";
import { expect } from "vitest";
import { until } from "../containers/deadline.js";
import { type Change, changeOf, type Members, type Mode, snapshotOf, UNIVERSE } from "./change.js";

/** A store that remembers which of its writes failed, and that can be held. */
export interface RecordingStore extends SegmentStore, AsyncDisposable {
  /** Method and code of each call of the sync that failed: `putSegment store_unavailable`. */
  readonly failures: readonly string[];
  /** What each of them threw. */
  readonly errors: readonly unknown[];
  /** From now on writes of members wait until the answer is called. */
  hold(): () => void;
}

/** Opens `store`, with windows so small that a sync of some thousand members takes many calls. */
export async function openInSmallSteps(store: SegmentStore): Promise<RecordingStore> {
  await store.open();
  const failures: string[] = [];
  const errors: unknown[] = [];
  let held = Promise.resolve();
  function recorded<Args extends readonly unknown[], T>(method: string, call: (...args: Args) => Promise<T>) {
    return async (...args: Args): Promise<T> => {
      try {
        return await call(...args);
      } catch (error) {
        // A conflict with the renewal of the lease is nothing but two writes that met.
        if (!isRollcallError(error, "revision_conflict")) {
          failures.push(`${method} ${isRollcallError(error) ? error.code : String(error)}`);
          errors.push(error);
        }
        throw error;
      }
    };
  }
  return {
    ...store,
    failures,
    errors,
    hold() {
      let release = () => {};
      held = new Promise((resolve) => {
        release = resolve;
      });
      return release;
    },
    capabilities: { ...store.capabilities, window: { maxMembers: 128, maxBlocks: 64, concurrency: 2 } },
    getEnvironment: recorded("getEnvironment", store.getEnvironment),
    getSegment: recorded("getSegment", store.getSegment),
    putSegment: recorded("putSegment", store.putSegment),
    allocateMemberSet: recorded("allocateMemberSet", store.allocateMemberSet),
    writeBlocks: recorded("writeBlocks", async (...args) => {
      await held;
      return store.writeBlocks(...args);
    }),
    [Symbol.asyncDispose]: () => store.close(),
  };
}

/** A Rollcall that gives up and takes over soon. */
export function quickRollcall(store: SegmentStore, options: RollcallOptions = {}): Rollcall {
  return createRollcall(store, {
    leaseTtlMs: 500,
    leaseWaitMs: 20_000,
    retry: { retries: 9, minDelayMs: 20 },
    // A lease that could not be renewed or given back while the server was away is what the trial is about.
    onWarning: () => {},
    ...options,
  });
}

/** A segment, and the sync that is going to suffer. */
export interface Trial extends Change {
  readonly segmentKey: string;
}

/** Makes a segment by a store that nothing happens to; every call that it makes is acknowledged. */
export async function startTrial(store: SegmentStore, mode: Mode): Promise<Trial> {
  const segmentKey = `people-${randomUUID()}`;
  const rollcall = quickRollcall(store);
  await rollcall.replace(segmentKey, { included: snapshotOf(0) });
  const acknowledged = changeOf("merge", snapshotOf(0), 1);
  await acknowledged.send(rollcall, segmentKey, {});
  return { segmentKey, ...changeOf(mode, acknowledged.after, 2) };
}

/** A sync that makes a new segment. */
export function newTrial(mode: Mode): Trial {
  return { segmentKey: `people-${randomUUID()}`, ...changeOf(mode, new Set(), 2) };
}

/** A delta that comes after the sync of `trial`, and undoes some of it. */
export function nextOf(trial: Trial): Trial {
  return { segmentKey: trial.segmentKey, ...changeOf("merge", trial.after, 3) };
}

/** A snapshot with the same outcome, for a segment of which nothing is left. */
export function snapshotInstead({ segmentKey, after }: Trial): Trial {
  return {
    segmentKey,
    mode: "replace",
    before: new Set(),
    after,
    send: (rollcall, key, options) => rollcall.replace(key, { included: after }, options),
  };
}

/** How a sync ended: a report, or an error. */
export type Outcome =
  | { readonly report: SyncReport; readonly error?: undefined }
  | { readonly report?: undefined; readonly error: RollcallError };

/** Sends the sync; once a third of it is written, `fault` happens. Resolves when both are over. */
export async function sync(rollcall: Rollcall, { segmentKey, send }: Trial, fault?: () => unknown): Promise<Outcome> {
  let happening: Promise<unknown> | undefined;
  const outcome = await send(rollcall, segmentKey, {
    onProgress({ phase, done, total = 0 }) {
      if (fault !== undefined && phase === "write" && 3 * done >= total) happening ??= (async () => fault())();
    },
  }).then(
    (report): Outcome => ({ report }),
    (error): Outcome => ({ error }),
  );
  if (fault !== undefined) expect(happening).toBeDefined();
  await happening;
  if (outcome.error !== undefined) expect(outcome.error).toBeInstanceOf(RollcallError);
  return outcome;
}

/** The same by `store`, which writes no members while `fault` happens: so it cannot be too late. */
export function syncHeld(
  store: RecordingStore,
  trial: Trial,
  fault: () => Promise<unknown>,
  options: RollcallOptions = {},
): Promise<Outcome> {
  return sync(quickRollcall(store, options), trial, async () => {
    const release = store.hold();
    try {
      await fault();
    } finally {
      release();
    }
  });
}

/**
 * The same to a server that is followed by one which lags. The latter gets no more after the first windows (`leaveBehind`), and takes over when
 * as many again are acknowledged (`takeOver`): so those are lost, and no call fails.
 */
export async function syncWithLoss(
  store: RecordingStore,
  trial: Trial,
  { leaveBehind, takeOver }: { leaveBehind(): Promise<unknown>; takeOver(): Promise<unknown> },
): Promise<Outcome> {
  let windows = 0;
  let gate: Promise<unknown> = Promise.resolve();
  const gated: SegmentStore = {
    ...store,
    async writeBlocks(...args) {
      windows++;
      if (windows === 5) gate = gate.then(leaveBehind);
      if (windows === 13) gate = gate.then(takeOver);
      await gate;
      return store.writeBlocks(...args);
    },
  };
  // So long a lease that only the finish can find out.
  const outcome = await sync(quickRollcall(gated, { leaseTtlMs: 60_000 }), trial);
  expect(windows).toBeGreaterThan(13);
  return outcome;
}

/** Asserts that the newest set, which the sync wrote, lacks some of what it was to hold. */
export async function expectLoss(store: SegmentStore, { after }: Trial): Promise<void> {
  const sets = await store.listMemberSets();
  const newest = sets.toSorted((a, b) => b.id - a.id)[0];
  expect((await differences(store, newest, after)).missing).toBeGreaterThan(0);
}

/** Asserts that the sync was acknowledged. */
export function expectApplied({ report, error }: Outcome): void {
  expect(error).toBeUndefined();
  expect(report?.outcome).toBe("applied");
}

/**
 * How the sync ends when `rollcall` repeats it as often as its errors allow: servers that change their roles are a while without
 * replicas.
 */
export async function endOf(outcome: Outcome, rollcall: Rollcall, trial: Trial): Promise<Outcome> {
  let last = outcome;
  await until("the sync ends", async () => {
    if (last.error?.retryable !== true) return true;
    last = await sync(rollcall, trial);
    return last.error?.retryable !== true;
  });
  return last;
}

/** Asserts that it failed with one of `codes`. */
export function expectRefused({ report, error }: Outcome, ...codes: readonly RollcallError["code"][]): void {
  expect(report).toBeUndefined();
  expect(codes).toContain(error?.code);
}

/**
 * Asserts that the segment has exactly `members`, a count that is right or says that it may not be, and nothing for `verify` to find but
 * what a sweep takes away; and that after the sweep nothing is left over. No reader may be at work any more.
 */
export async function expectState(store: SegmentStore, segmentKey: string, members: Members): Promise<void> {
  const rollcall = quickRollcall(store, { graceMs: 0 });
  const segment = await rollcall.getSegment(segmentKey);
  const { set, count } = segment?.included ?? {};
  expect(await differences(store, set, members)).toEqual({ missing: 0, foreign: 0 });
  if (count?.exact) expect(count.value).toBe(members.size);
  const mayBeFound = ["orphan_set", ...(count?.exact ? [] : ["count"])];
  const { findings } = await rollcall.verify();
  expect(findings.filter(({ kind }) => !mayBeFound.includes(kind))).toEqual([]);

  const known = await store.listMemberSets();
  await rollcall.sweep();
  const left = await store.listMemberSets();
  const pointed = (await rollcall.listSegments()).flatMap(({ included, excluded }) => [included.set, excluded.set]);
  const ids = (sets: readonly (MemberSet | undefined)[]) => sets.flatMap((each) => each?.id ?? []).sort();
  expect(ids(left)).toEqual(ids(pointed));
  for (const gone of known.filter(({ id }) => !left.some((each) => each.id === id)))
    expect(await differences(store, gone, new Set())).toEqual({ missing: 0, foreign: 0 });
  await rollcall.verify({ repair: true });
  expect((await rollcall.verify()).findings).toEqual([]);
  expect((await rollcall.getSegment(segmentKey))?.included.count).toEqual({ value: members.size, exact: true });
}

/** Who is in the included list of the segment, by a scan. */
export async function membersIn(store: SegmentStore, segmentKey: string): Promise<Members> {
  const set = (await quickRollcall(store).getSegment(segmentKey))?.included.set;
  const names = new Map(UNIVERSE.map((key) => [hex(contextHash(key)), key]));
  const members = new Set<string>();
  if (set === undefined) return members;
  for await (const hashes of store.scanMembers(set)) {
    for (let index = 0; index < hashCount(hashes); index++) {
      const key = names.get(hex(hashAt(hashes, index)));
      if (key === undefined) throw new Error("the segment has a member that no sync has named");
      members.add(key);
    }
  }
  return members;
}

async function differences(store: SegmentStore, set: MemberSet | undefined, members: Members) {
  const missing = new Set(Array.from(members, (key) => hex(contextHash(key))));
  let foreign = 0;
  if (set !== undefined) {
    for await (const hashes of store.scanMembers(set)) {
      for (let index = 0; index < hashCount(hashes); index++) {
        // One that comes twice counts as foreign the second time.
        if (!missing.delete(hex(hashAt(hashes, index)))) foreign++;
      }
    }
  }
  return { missing: missing.size, foreign };
}

function hex(hash: Uint8Array | undefined): string {
  return Buffer.from(hash ?? []).toString("hex");
}
