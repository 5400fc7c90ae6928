// The history of reports: bounded, newest first, apart from the records that readers poll, and written with them or not at all.

import assert from "node:assert/strict";
import type { Delta, Revision, SegmentStore, SyncReport, Timeline } from "@rollcall/core";
import { AUDIENCE, people, SMALL_STEPS, segmentOf } from "../audience.js";
import { type Check, type CheckContext, rejectsWith } from "../check.js";
import type { FaultKind, FaultyStore } from "../faulty-store.js";
import { keyOf, sampleReport, sampleSegment } from "../samples.js";

const key = keyOf(AUDIENCE);

/** Sample reports that tell of `numbers`. */
function reportsOf(numbers: readonly number[], segment: string = AUDIENCE): SyncReport[] {
  return numbers.map((number) => sampleReport(segment, number));
}

/** Puts the segment's record anew, and reports of `numbers` with it. */
async function putReports(store: SegmentStore, numbers: readonly number[], segment: string = AUDIENCE): Promise<void> {
  const present = await store.getSegment(keyOf(segment));
  await store.putSegment(sampleSegment(segment), present?.revision, { reports: reportsOf(numbers, segment) });
}

/** What the reports of the segment tell of, newest first. */
async function told(store: SegmentStore): Promise<number[]> {
  return (await store.getHistory(key)).map(({ received }) => received);
}

/** The numbers below `end`, counted down to `start`. */
function down(end: number, start: number): number[] {
  return Array.from({ length: end - start }, (_, i) => end - 1 - i);
}

export const historyChecks: readonly Check[] = [
  {
    name: "history keeps whole reports, newest first, for each segment apart",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      assert.deepEqual(await store.getHistory(key), []);
      for (const numbers of [[1], [], [2, 3, 4], [5]]) await putReports(store, numbers);
      await putReports(store, [9], "audience2");
      assert.deepEqual(await other.getHistory(key), reportsOf([5, 4, 3, 2, 1]));
      assert.deepEqual(await other.getHistory(keyOf("audience2")), reportsOf([9], "audience2"));
      assert.deepEqual(await other.getHistory(keyOf("audienc")), []);
    },
  },
  {
    name: "history keeps the newest 100 and forgets the rest",
    promise: "port",
    async run(t) {
      const store = await t.open();
      for (let number = 0; number < 130; number++) await putReports(store, [number]);
      assert.deepEqual(await told(store), down(130, 30));
      // Several at once, as a copy has them.
      await putReports(store, down(190, 130).reverse());
      assert.deepEqual(await told(store), down(190, 90));
      await putReports(store, down(290, 190).reverse());
      assert.deepEqual(await told(store), down(290, 190));
    },
  },
  {
    name: "a report is there if its record was written, and only then",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const refused = async (code: "revision_conflict" | "stale_lease", revision?: Revision, timeline?: Timeline) => {
        const before = [await store.getHistory(key), await store.getSegment(key)];
        const options = { reports: reportsOf([99]), timeline };
        await rejectsWith(other.putSegment(sampleSegment(AUDIENCE), revision, options), code);
        assert.deepEqual([await store.getHistory(key), await store.getSegment(key)], before);
      };
      const [first, second] = [sampleSegment(AUDIENCE), sampleSegment(AUDIENCE, { updatedAt: 2 })];
      await refused("revision_conflict", first.revision);
      const timeline = await store.putSegment(first, undefined, { reports: reportsOf([1]) });
      await refused("revision_conflict");
      await refused("revision_conflict", second.revision);
      await store.putSegment(second, first.revision, { reports: reportsOf([2]), timeline });
      await refused("revision_conflict", first.revision);
      // What a client below the adapter would do by resending.
      await rejectsWith(store.putSegment(second, first.revision, { reports: reportsOf([2]) }), "revision_conflict");
      if (timeline !== undefined) {
        const elsewhere = `${timeline}0` as Timeline;
        for (const revision of [second.revision, first.revision, undefined])
          await refused("stale_lease", revision, elsewhere);
      }
      assert.deepEqual(await other.getHistory(key), reportsOf([2, 1]));
      assert.deepEqual(await other.getSegment(key), second);
    },
  },
  {
    name: "of racing writes of one record the winners' reports are kept, and no others",
    promise: "port",
    async run(t) {
      const handles = [await t.open(), await t.open(), await t.open()];
      const winners: number[] = [];
      let revision: Revision | undefined;
      for (let round = 0; round < 10; round++) {
        const attempts = handles.map((handle, i) => ({
          handle,
          number: round * 10 + i,
          next: sampleSegment(AUDIENCE),
        }));
        const results = await Promise.allSettled(
          attempts.map(({ handle, number, next }) =>
            handle.putSegment(next, revision, { reports: reportsOf([number]) }),
          ),
        );
        const winner = attempts.find((_, i) => results[i]?.status === "fulfilled");
        assert.ok(winner !== undefined);
        revision = winner.next.revision;
        winners.unshift(winner.number);
        for (const handle of handles) assert.deepEqual(await told(handle), winners);
      }
    },
  },
  {
    name: "a record and its report are seen together by those who read while they are put",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      let isDone = false;
      async function write(): Promise<void> {
        let before: Revision | undefined;
        for (let number = 1; number <= 60; number++) {
          const next = sampleSegment(AUDIENCE, { updatedAt: number });
          await store.putSegment(next, before, { reports: reportsOf([number]) });
          before = next.revision;
        }
      }
      const recordSeen = async () => (await other.getSegment(key))?.updatedAt ?? 0;
      const reportSeen = async () => (await told(other))[0] ?? 0;
      async function watch(): Promise<void> {
        while (!isDone) {
          const record = await recordSeen();
          const report = await reportSeen();
          assert.ok(
            report >= record,
            `record ${record} was there before its report, the newest of which was ${report}`,
          );
          assert.ok((await recordSeen()) >= report, `report ${report} was there before its record`);
          await new Promise(setImmediate);
        }
      }
      const writing = write().finally(() => {
        isDone = true;
      });
      await Promise.all([writing, watch()]);
      assert.deepEqual(await told(other), down(61, 1));
    },
  },
  {
    name: "what a sync answers is in the history, as the segment is then",
    promise: "counts",
    async run(t) {
      const store = await t.open(undefined, SMALL_STEPS);
      const rollcall = await t.rollcall(store);
      const answers = [
        await rollcall.merge(AUDIENCE, { add: people(0, 20) }, { syncId: "one" }),
        await rollcall.merge(AUDIENCE, { add: people(15, 25), remove: people(0, 5) }, { list: "excluded" }),
        await rollcall.replace(AUDIENCE, { included: people(5, 30), excluded: people(0, 6) }),
        await rollcall.replace(AUDIENCE, { excluded: people(0, 3) }),
      ];
      // The report is made before the write that it goes with, and the answer after it: that took longer, and consumed more.
      const untimed = (reports: readonly SyncReport[]) =>
        reports.map(({ durationMs: _, consumed: __, ...report }) => report);
      const history = await store.getHistory(key);
      assert.deepEqual(untimed(history), untimed(answers.toReversed()));
      for (const { durationMs } of history) assert.ok(durationMs >= 0);
      for (const [index, { consumed }] of answers.toReversed().entries()) {
        const before = history[index]?.consumed;
        const counts = store.capabilities.countsConsumption === true;
        assert.deepEqual([before !== undefined, consumed !== undefined], [counts, counts]);
        assert.ok((before?.writeUnits ?? 0) <= (consumed?.writeUnits ?? 0));
      }
      const exact = (value: number) => ({ value, exact: true });
      assert.deepEqual(history[0]?.members, { included: exact(25), excluded: exact(3) });
      // What changes nothing is no entry.
      await rollcall.merge(AUDIENCE, { add: people(0, 20) }, { syncId: "one" });
      await rollcall.merge(AUDIENCE, { add: people(50, 60) }, { dryRun: true });
      await rejectsWith(rollcall.replace(AUDIENCE, { included: people(0, 2) }), "shrink_guard");
      assert.deepEqual(await store.getHistory(key), history);
    },
  },
  {
    name: "merges that are written together are one entry for each list",
    promise: "counts",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      store.plan({ kind: "pause", at: 1, method: "putSegment" });
      const first = rollcall.merge(AUDIENCE, { add: people(0, 1) });
      await store.paused;
      const waiting = [
        rollcall.merge(AUDIENCE, { add: people(1, 4) }),
        rollcall.merge(AUDIENCE, { add: people(3, 6) }),
        rollcall.merge(AUDIENCE, { add: people(5, 7) }, { list: "excluded" }),
      ];
      store.resume();
      await Promise.all([first, ...waiting]);
      const exact = (value: number) => ({ value, exact: true });
      const members = { included: exact(6), excluded: exact(2) };
      const history = await store.getHistory(key);
      assert.deepEqual(
        history.map((report) => [report.lists, report.group, report.received, report.added, report.members]),
        [
          [["excluded"], 1, 2, exact(2), members],
          [["included"], 2, 6, exact(5), members],
          [["included"], 1, 1, exact(1), { included: exact(1), excluded: exact(0) }],
        ],
      );
    },
  },
  {
    name: "a sync is in the history once, whichever of its calls is refused or loses its reply",
    promise: "repeat",
    async run(t) {
      for (const kind of ["refuse", "lose_reply"] as const) {
        await atEachCall(t, kind, async (store, environment) => {
          const rollcall = await t.rollcall(store);
          const report = await rollcall.merge(AUDIENCE, DELTA, { syncId: "one" });
          assert.equal(report.outcome, "applied");
          await expectOneReport(t, environment);
        });
      }
    },
  },
  {
    name: "a sync that died is in the history once, when it is repeated with its id",
    promise: "repeat",
    async run(t) {
      for (const kind of ["crash", "crash_after"] as const) {
        await atEachCall(t, kind, async (store, environment) => {
          const rollcall = await t.rollcall(store);
          await rejectsWith(rollcall.merge(AUDIENCE, DELTA, { syncId: "one" }), "store_unavailable");
          const again = await t.rollcall(await t.open(environment));
          await again.merge(AUDIENCE, DELTA, { syncId: "one" });
          await expectOneReport(t, environment);
        });
      }
    },
  },
];

const DELTA: Delta = { add: people(0, 12) };

/** Does `sync` on stores of which the first fails at the first call of a sync, the next at the second, and so on to the last. */
async function atEachCall(
  t: CheckContext,
  kind: FaultKind,
  sync: (store: FaultyStore, environment: string) => Promise<void>,
): Promise<void> {
  const sound = await t.open(`${kind}-none`);
  await (await t.rollcall(sound)).initialize();
  const before = sound.calls.length;
  await (await t.rollcall(sound)).merge(AUDIENCE, DELTA);
  const calls = sound.calls.length - before;
  assert.ok(calls > 3);
  for (let at = 1; at <= calls; at++) {
    const environment = `${kind}-${at}`;
    const store = await t.open(environment);
    await (await t.rollcall(store)).initialize();
    store.plan({ kind, at });
    await sync(store, environment);
    assert.equal(store.planned, undefined, "it failed");
  }
}

async function expectOneReport(t: CheckContext, environment: string): Promise<void> {
  const store = await t.open(environment);
  const reports = await store.getHistory(key);
  // Whether the count is exact depends on the call that failed; the report says what the record says.
  const { count } = (await segmentOf(await t.rollcall(store))).included;
  assert.deepEqual(
    reports.map(({ outcome, syncId, received, members }) => ({ outcome, syncId, received, members: members.included })),
    [{ outcome: "applied", syncId: "one", received: 12, members: count }],
  );
}
