// Every call of a sync fails once, in every way: afterwards the repeat ends as if nothing had happened. And writers that wake
// up late.

import assert from "node:assert/strict";
import { expectNoLeftovers, people, SMALL_STEPS, segmentOf } from "../audience.js";
import { type Check, type CheckContext, rejectsWith } from "../check.js";
import type { FaultKind } from "../faulty-store.js";
import { applied, EMPTY, expectModel, type Operation, perform } from "../model.js";
import { scanned } from "../samples.js";
import { play, type Step, UNIVERSE } from "../scenario.js";

const FAULTS: readonly FaultKind[] = ["refuse", "lose_reply", "crash", "crash_after"];
const SEGMENT = "a";
/** More calls than any of the small syncs below makes. */
const MOST_CALLS = 400;

const start: Step = {
  kind: "sync",
  segment: SEGMENT,
  operation: { kind: "replace", included: people(0, 12), excluded: people(20, 22) },
  lookMs: 0,
};

/** Plays the step with a fault at its first call, its second, …, until there is no such call. */
async function atEveryCall(t: CheckContext, kind: FaultKind, step: (at: number) => Step): Promise<void> {
  const calls = await countCalls(t, kind, step(MOST_CALLS));
  assert.ok(calls > 3 && calls < MOST_CALLS);
  for (let at = 1; at <= calls; at++) {
    const next: Step = { kind: "sync", segment: SEGMENT, operation: merge(people(2, 4), people(9, 11)), lookMs: 0 };
    await play(t, `${kind}-${at}`, [start, step(at), next]);
  }
}

/** How many store calls the step makes when nothing fails. */
async function countCalls(t: CheckContext, kind: string, step: Step): Promise<number> {
  const store = await t.open(`${kind}-count`, SMALL_STEPS);
  if (start.kind === "sync") await perform(await t.rollcall(store), SEGMENT, start.operation);
  // As in a scenario: a handle of its own.
  const rollcall = await t.rollcall(store);
  const before = store.calls.length;
  if (step.kind === "sync") await perform(rollcall, SEGMENT, step.operation);
  if (step.kind === "delete") await rollcall.deleteSegment(SEGMENT);
  if (step.kind === "forget") await rollcall.forget({ kind: "user", key: step.key });
  return store.calls.length - before;
}

function merge(add: readonly string[], remove: readonly string[]): Operation {
  return { kind: "merge", list: "included", add, remove };
}

const REPLACE: Operation = { kind: "replace", included: people(6, 24), excluded: people(0, 2) };
const MERGE = merge(people(12, 20), people(0, 5));

function crashCheck(what: string, kind: FaultKind, step: (at: number) => Step): Check {
  return {
    name: `${what}, ${sayFault[kind]} at every call, is repeated without harm`,
    promise: "repeat",
    run: (t) => atEveryCall(t, kind, step),
  };
}

const sayFault: Record<FaultKind, string> = {
  refuse: "refused",
  lose_reply: "its reply lost",
  crash: "crashed before",
  crash_after: "crashed after",
  pause: "paused",
};

const everyCall: readonly Check[] = FAULTS.flatMap((kind) => [
  crashCheck("a replace", kind, (at) => ({
    kind: "sync",
    segment: SEGMENT,
    operation: REPLACE,
    fault: { kind, at },
    lookMs: 400,
  })),
  crashCheck("a merge", kind, (at) => ({
    kind: "sync",
    segment: SEGMENT,
    operation: MERGE,
    fault: { kind, at },
    lookMs: 400,
  })),
  crashCheck("a deletion", kind, (at) => ({ kind: "delete", segment: SEGMENT, fault: { kind, at }, lookMs: 0 })),
  crashCheck("a forget", kind, (at) => ({ kind: "forget", key: "person-3", fault: { kind, at }, lookMs: 0 })),
]);

/** The first writer falls asleep at a call, the second does its sync, the first wakes up. */
async function withSleeper(t: CheckContext, sleeping: Operation, other: Operation): Promise<void> {
  for (let at = 1; ; at++) {
    const environment = `sleeper-${at}`;
    const [store, awake] = [await t.open(environment, SMALL_STEPS), await t.open(environment, SMALL_STEPS)];
    const [sleeper, rollcall] = [await t.rollcall(store), await t.rollcall(awake)];
    const before: Operation = { kind: "replace", included: people(0, 12) };
    await perform(rollcall, SEGMENT, before);
    store.plan({ kind: "pause", at });
    const outcome = perform(sleeper, SEGMENT, sleeping).then(
      () => "acknowledged",
      (error) => error.code as string,
    );
    const ended = await Promise.race([store.paused.then(() => false), outcome.then(() => true)]);
    if (ended) {
      assert.ok(at > 3, "it slept at some calls");
      return;
    }
    await perform(rollcall, SEGMENT, other);
    const set = (await segmentOf(rollcall, SEGMENT)).included.set;
    assert.ok(set !== undefined);
    const members = await scanned(awake, set);
    store.resume();
    const end = await outcome;
    const base = applied(EMPTY, before);
    if (end === "acknowledged") {
      // It slept before it took the lease, or after it had given it back.
      const orders = [applied(applied(base, sleeping), other), applied(applied(base, other), sleeping)];
      const reader = await t.reader(awake);
      const matches = await Promise.allSettled(
        orders.map((model) => expectModel(reader, new Map([[SEGMENT, model]]), UNIVERSE)),
      );
      assert.ok(matches.some(({ status }) => status === "fulfilled"));
    } else {
      assert.equal(end, "stale_lease");
      // With fencing by block a late merge may still reach blocks that the later one left alone; the check below says what not.
      const mayReach = t.capabilities.fencing === "block" && sleeping.kind === "merge";
      if (!mayReach) assert.deepEqual(await scanned(awake, set), members, "the late writer changed nothing");
    }
    await t.clock.advance(10_000_000);
    await rollcall.sweep();
    await expectNoLeftovers(awake);
    if (t.capabilities.fencing === "block") await rollcall.verify({ repair: true });
    assert.deepEqual((await rollcall.verify()).findings, []);
    await Promise.all([sleeper.close(), rollcall.close()]);
    await Promise.all([store.close(), awake.close()]);
  }
}

const sleepers: readonly Check[] = [
  {
    name: "a replace that sleeps at any call wakes up too late, after a replace",
    promise: "writer",
    run: (t) => withSleeper(t, REPLACE, { kind: "replace", included: people(8, 20) }),
  },
  {
    name: "a replace that sleeps at any call wakes up too late, after a merge",
    promise: "writer",
    run: (t) => withSleeper(t, REPLACE, merge(people(12, 16), people(2, 6))),
  },
  {
    name: "a merge that sleeps at any call wakes up too late, after a replace",
    promise: "writer",
    run: (t) => withSleeper(t, MERGE, { kind: "replace", included: people(8, 20) }),
  },
  {
    name: "a merge that sleeps at any call wakes up too late, after a merge",
    promise: "writer",
    run: (t) => withSleeper(t, MERGE, merge(people(12, 16), people(2, 6))),
  },
  {
    name: "a merge that sleeps at any call changes no member that a later merge decided",
    promise: "writer",
    async run(t) {
      for (let at = 1; ; at++) {
        const environment = `late-${at}`;
        const [store, awake] = [await t.open(environment, SMALL_STEPS), await t.open(environment, SMALL_STEPS)];
        const [sleeper, rollcall] = [await t.rollcall(store), await t.rollcall(awake)];
        await rollcall.merge(SEGMENT, { add: people(0, 12) });
        store.plan({ kind: "pause", at });
        const outcome = sleeper.merge(SEGMENT, { add: people(12, 24), remove: people(0, 12) });
        const ended = outcome.then(
          () => true,
          () => true,
        );
        if (await Promise.race([store.paused.then(() => false), ended])) return assert.ok(at > 3);
        await rollcall.merge(SEGMENT, { add: people(0, 12), remove: people(12, 24) });
        store.resume();
        const late = await outcome.then(
          () => true,
          () => false,
        );
        const reader = await t.reader(awake);
        const first = applied(EMPTY, merge(people(0, 12), []));
        const second = applied(EMPTY, merge(people(12, 24), []));
        // Only a sleeper that had not begun comes after it.
        if (!late) await expectModel(reader, new Map([[SEGMENT, first]]), UNIVERSE);
        else
          await expectModel(reader, new Map([[SEGMENT, first]]), UNIVERSE).catch(() =>
            expectModel(reader, new Map([[SEGMENT, second]]), UNIVERSE),
          );
        await Promise.all([sleeper.close(), rollcall.close()]);
        await Promise.all([store.close(), awake.close()]);
      }
    },
  },
  {
    name: "a writer waits for a living one, and gives up with `segment_busy`",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const holder = await t.rollcall(store);
      const waiter = await t.rollcall(other, { leaseWaitMs: 5_000 });
      await holder.merge(SEGMENT, { add: people(0, 5) });
      store.plan({ kind: "pause", at: 1, method: "writeBlocks" });
      const held = holder.merge(SEGMENT, { add: people(5, 10) });
      await store.paused;
      await rejectsWith(waiter.merge(SEGMENT, { add: people(10, 15) }), "segment_busy");
      store.resume();
      await held;
      await waiter.merge(SEGMENT, { add: people(10, 15) });
      const model = applied(EMPTY, merge(people(0, 15), []));
      await expectModel(await t.reader(), new Map([[SEGMENT, model]]), UNIVERSE);
    },
  },
];

export const crashChecks: readonly Check[] = [...everyCall, ...sleepers];
