// One run of writers, faults and readers against the model: steps as data, so that a failing run can be shrunk and replayed.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import {
  contextHash,
  isRollcallError,
  LIST_NAMES,
  type ListName,
  type Rollcall,
  type SegmentReader,
  type SegmentStore,
} from "@rollcall/core";
import { expectNoLeftovers, people, SMALL_STEPS } from "./audience.js";
import type { CheckContext } from "./check.js";
import type { Fault, FaultyStore } from "./faulty-store.js";
import {
  applied,
  createWatcher,
  EMPTY,
  expectModel,
  flippedBy,
  type Operation,
  perform,
  type SegmentModel,
  without,
} from "./model.js";
import { hexOf, keyOf, NO_HASHES, scanned } from "./samples.js";

/** Everybody there is. */
export const UNIVERSE: readonly string[] = people(0, 24);
/** Segments there may be. */
export const SEGMENTS: readonly string[] = ["a", "b", "c"];

const GRACE_MS = 300_000;
/** More attempts than faults can spoil. */
const MOST_ATTEMPTS = 8;
const RETRYABLE = ["store_unavailable", "stale_lease", "segment_busy", "revision_conflict"] as const;

/** One thing that happens. `lookMs` passes before each store call of the writer, and then all readers look. */
export type Step =
  | {
      readonly kind: "sync";
      readonly segment: string;
      readonly operation: Operation;
      readonly fault?: Fault | undefined;
      readonly lookMs: number;
    }
  | {
      readonly kind: "race";
      readonly segment: string;
      readonly operations: readonly [Operation, Operation];
      readonly faults: readonly [Fault | undefined, Fault | undefined];
      readonly lookMs: number;
    }
  | { readonly kind: "delete"; readonly segment: string; readonly fault?: Fault | undefined; readonly lookMs: number }
  | { readonly kind: "forget"; readonly key: string; readonly fault?: Fault | undefined; readonly lookMs: number }
  | { readonly kind: "sweep"; readonly fault?: Fault | undefined; readonly lookMs: number }
  | { readonly kind: "wait"; readonly ms: number };

/** Who takes the steps of a scenario. */
export interface PlayOptions {
  /**
   * Whether handles do more than one step, in turn, as those of processes that live on; what such a handle remembers may be out of date. Else
   * each attempt has a handle of its own. Default `false`.
   */
  readonly keepsHandles?: boolean | undefined;
}

/** Plays `steps` in `environment`, which is empty, and checks everything that must hold then. */
export async function play(
  t: CheckContext,
  environment: string,
  steps: readonly Step[],
  options: PlayOptions = {},
): Promise<void> {
  const scenario = await createScenario(t, environment, options);
  try {
    for (const step of steps) await scenario.take(step);
    await scenario.conclude();
  } finally {
    await scenario.close();
  }
}

interface Handle {
  readonly store: FaultyStore;
  readonly rollcall: Rollcall;
}

async function createScenario(t: CheckContext, environment: string, { keepsHandles = false }: PlayOptions) {
  const models = new Map<string, SegmentModel>();
  const handles: FaultyStore[] = [];
  const rollcalls: Rollcall[] = [];
  const idle: Handle[] = [];
  const readerStore = await open();
  const readers: SegmentReader[] = [
    await t.reader(readerStore, { pollMs: 1_000, cacheTtlMs: 20_000 }),
    await t.reader(readerStore, { pollMs: 300, cacheTtlMs: 0, cacheSize: 0 }),
  ];
  const watcher = createWatcher(readers, UNIVERSE);
  let looks = 0;

  async function open(): Promise<FaultyStore> {
    const store = await t.open(environment, SMALL_STEPS);
    handles.push(store);
    return store;
  }

  async function writer(store: SegmentStore): Promise<Rollcall> {
    const rollcall = await t.rollcall(store, { graceMs: GRACE_MS, leaseWaitMs: 600_000 });
    rollcalls.push(rollcall);
    return rollcall;
  }

  async function openHandle(): Promise<Handle> {
    const store = await open();
    return { store, rollcall: await writer(store) };
  }

  /** One attempt with the fault, watched. */
  async function attempt<T>(
    call: (rollcall: Rollcall) => Promise<T>,
    fault: Fault | undefined,
    lookMs: number,
  ): Promise<{ store: FaultyStore; outcome: Promise<T> }> {
    const handle = idle.shift() ?? (await openHandle());
    const { store, rollcall } = handle;
    store.beforeCall = async () => {
      await t.clock.advance(lookMs);
      await watcher.look(looks++ % readers.length);
    };
    store.plan(fault);
    const outcome = call(rollcall).finally(() => {
      // One that crashed is dead, and one that was paused would be taken for paused again. One that failed otherwise lives on.
      const { kind } = fault ?? {};
      if (keepsHandles && kind !== "pause" && kind !== "crash" && kind !== "crash_after") idle.push(handle);
    });
    return { store, outcome };
  }

  /** Repeats until it is acknowledged; only the first attempt meets the fault. */
  async function acknowledged<T>(
    call: (rollcall: Rollcall) => Promise<T>,
    fault: Fault | undefined,
    lookMs: number,
  ): Promise<T> {
    for (let n = 0; n < MOST_ATTEMPTS; n++) {
      const { store, outcome } = await attempt(call, n === 0 ? fault : undefined, lookMs);
      try {
        return await resumed(store, outcome);
      } catch (error) {
        assert.ok(isRetryable(error), `a sync failed with ${error instanceof Error ? error.stack : error}`);
      }
    }
    assert.fail(`not acknowledged after ${MOST_ATTEMPTS} attempts`);
  }

  /** Waits for the outcome; a handle that pauses while nobody else does anything goes on at once. */
  async function resumed<T>(store: FaultyStore, outcome: Promise<T>): Promise<T> {
    void store.paused.then(() => store.resume());
    return outcome;
  }

  const modelOf = (segment: string) => models.get(segment) ?? EMPTY;

  async function sync(step: Extract<Step, { kind: "sync" }>): Promise<void> {
    const { segment, operation, fault, lookMs } = step;
    const next = applied(modelOf(segment), operation);
    watcher.expect(segment, [next], flippedBy(operation));
    await acknowledged((rollcall) => perform(rollcall, segment, operation), fault, lookMs);
    models.set(segment, next);
  }

  async function race(step: Extract<Step, { kind: "race" }>): Promise<void> {
    const { segment, operations, faults, lookMs } = step;
    const [first, second] = operations;
    const before = modelOf(segment);
    const ends = [applied(applied(before, first), second), applied(applied(before, second), first)];
    // Meanwhile a member may be as either leaves it, or as it was.
    const meanwhile = [before, applied(before, first), applied(before, second), ...ends];
    watcher.expect(segment, meanwhile, []);
    const slow = await attempt((rollcall) => perform(rollcall, segment, first), faults[0], lookMs);
    // Its end is looked at below; until then a failure is nobody's surprise.
    slow.outcome.catch(() => {});
    const fast = acknowledged((rollcall) => perform(rollcall, segment, second), faults[1], lookMs);
    await fast;
    slow.store.resume();
    void slow.store.paused.then(() => slow.store.resume());
    try {
      await slow.outcome;
    } catch (error) {
      assert.ok(isRetryable(error), `a sync failed with ${error instanceof Error ? error.stack : error}`);
      await acknowledged((rollcall) => perform(rollcall, segment, first), undefined, lookMs);
    }
    const end = await whichOf(segment, ends);
    watcher.expectEndOfRace(segment, meanwhile, end, [flippedBy(first), flippedBy(second)]);
    models.set(segment, end);
  }

  /** The state that the segment ended in, which must be one of `ends`. */
  async function whichOf(segment: string, ends: readonly SegmentModel[]): Promise<SegmentModel> {
    const stored = await storedMembers(await open(), segment);
    const end = ends.find((candidate) => isDeepStrictEqual(listed(candidate), stored));
    assert.ok(end !== undefined, `after a race ${segment} holds ${JSON.stringify(stored)}, which is neither order`);
    return end;
  }

  async function remove(step: Extract<Step, { kind: "delete" }>): Promise<void> {
    const { segment, fault, lookMs } = step;
    if (!models.has(segment)) return;
    watcher.expect(segment, [EMPTY], LIST_NAMES);
    await acknowledged(
      async (rollcall) => {
        try {
          await rollcall.deleteSegment(segment);
        } catch (error) {
          // A repeat after a lost reply finds it deleted.
          if (!isRollcallError(error, "unknown_segment")) throw error;
        }
      },
      fault,
      lookMs,
    );
    models.delete(segment);
  }

  async function forget(step: Extract<Step, { kind: "forget" }>): Promise<void> {
    const { key, fault, lookMs } = step;
    watcher.forget(key);
    for (const [segment, model] of models) watcher.expect(segment, [without(model, key)], []);
    await acknowledged((rollcall) => rollcall.forget({ kind: "user", key }), fault, lookMs);
    for (const [segment, model] of models) models.set(segment, without(model, key));
  }

  /** What a client can read of counts: an exact one must be right. */
  async function expectHonestCounts(rollcall: Rollcall): Promise<void> {
    for (const [segment, model] of models) {
      const record = await rollcall.getSegment(segment);
      for (const list of ["included", "excluded"] as const) {
        const count = record?.[list].count;
        if (count?.exact) assert.equal(count.value, model[list].size, `the exact count of ${segment}, ${list}`);
      }
    }
  }

  return {
    async take(step: Step): Promise<void> {
      if (step.kind === "sync") await sync(step);
      else if (step.kind === "race") await race(step);
      else if (step.kind === "delete") await remove(step);
      else if (step.kind === "forget") await forget(step);
      else if (step.kind === "sweep") await acknowledged((rollcall) => rollcall.sweep(), step.fault, step.lookMs);
      else await t.clock.advance(step.ms);
      await watcher.look();
    },

    async conclude(): Promise<void> {
      const store = await open();
      const rollcall = await writer(store);
      for (const reader of readers) await expectModel(reader, models, UNIVERSE);
      await expectModel(await t.reader(store), models, UNIVERSE);
      for (const [segment, model] of models)
        assert.deepEqual(await storedMembers(store, segment), listed(model), segment);
      // With fencing by block a writer that woke late may have changed a block after the count was made.
      if (t.capabilities.fencing === "set") await expectHonestCounts(rollcall);
      await t.clock.advance(2 * GRACE_MS);
      await rollcall.sweep();
      await t.clock.advance(2 * GRACE_MS);
      await rollcall.sweep();
      await expectNoLeftovers(store);
      await rollcall.verify({ repair: true });
      for (const [segment, model] of models) {
        const record = await rollcall.getSegment(segment);
        for (const list of ["included", "excluded"] as const)
          assert.deepEqual(record?.[list].count, { value: model[list].size, exact: true }, `${segment}, ${list}`);
      }
      assert.deepEqual((await rollcall.verify()).findings, []);
      await expectModel(await t.reader(store), models, UNIVERSE);
    },

    async close(): Promise<void> {
      for (const handle of handles) {
        handle.beforeCall = undefined;
        handle.plan(undefined);
        handle.resume();
      }
      for (const reader of readers) reader.close();
      // What a failed run left behind has its verdict already.
      for (const rollcall of rollcalls) await rollcall.close().catch(() => {});
      for (const handle of handles) await handle.close().catch(() => {});
    },
  };
}

/** What the lists of a segment really hold: a reader does not tell whether somebody included is excluded too. */
async function storedMembers(store: SegmentStore, segmentKey: string): Promise<Record<ListName, string[]>> {
  const names = new Map(UNIVERSE.map((key) => [hexOf(contextHash(key) ?? NO_HASHES).join(), key]));
  const record = await store.getSegment(keyOf(segmentKey));
  const members: Record<ListName, string[]> = { included: [], excluded: [] };
  for (const list of LIST_NAMES) {
    const set = record?.[list].set;
    if (set !== undefined) members[list] = (await scanned(store, set)).map((hash) => names.get(hash) ?? hash).sort();
  }
  return members;
}

function listed(model: SegmentModel): Record<ListName, string[]> {
  return { included: [...model.included].sort(), excluded: [...model.excluded].sort() };
}

function isRetryable(error: unknown): boolean {
  return RETRYABLE.some((code) => isRollcallError(error, code));
}
