// replace: whole snapshots, the shrink guard, and what a dry run leaves alone.

import assert from "node:assert/strict";
import {
  AUDIENCE,
  expectCounts,
  expectMembers,
  expectNoLeftovers,
  membersAmong,
  people,
  registryOf,
  SMALL_STEPS,
  segmentOf,
} from "../audience.js";
import { type Check, rejectsWith } from "../check.js";

export const replaceChecks: readonly Check[] = [
  {
    name: "after a replace the list holds exactly the snapshot, and the other list what it held",
    promise: "snapshot",
    async run(t) {
      const rollcall = await t.rollcall(await t.open(undefined, SMALL_STEPS));
      const reader = await t.reader();
      const first = await rollcall.replace(AUDIENCE, { included: [...people(0, 60), ...people(0, 20)] });
      assert.equal(first.received, 80);
      assert.equal(first.duplicates, 20);
      assert.equal(first.added.value, 60);
      await expectMembers(reader, AUDIENCE, people(0, 200), people(0, 60));
      await rollcall.merge(AUDIENCE, { add: people(100, 110) }, { list: "excluded" });
      const second = await rollcall.replace(AUDIENCE, { included: people(20, 80) });
      assert.deepEqual([second.added.value, second.removed.value, second.unchanged.value], [20, 20, 40]);
      await expectMembers(reader, AUDIENCE, people(0, 200), people(20, 80));
      await expectCounts(rollcall, { included: 60, excluded: 10 });
      const both = await rollcall.replace(AUDIENCE, { included: people(0, 50), excluded: people(40, 50) });
      assert.deepEqual([...both.lists].sort(), ["excluded", "included"]);
      await expectMembers(reader, AUDIENCE, people(0, 200), people(0, 50));
      await expectCounts(rollcall, { included: 50, excluded: 10 });
    },
  },
  {
    name: "a repeated replace changes nothing, and is counted as unchanged",
    promise: "repeat",
    async run(t) {
      const rollcall = await t.rollcall();
      for (const round of [0, 1, 2]) {
        const report = await rollcall.replace(AUDIENCE, { included: people(0, 70) });
        assert.deepEqual(
          [report.added.value, report.removed.value, report.unchanged.value],
          round === 0 ? [70, 0, 0] : [0, 0, 70],
        );
      }
      await expectMembers(await t.reader(), AUDIENCE, people(0, 90), people(0, 70));
      await expectCounts(rollcall, { included: 70 });
      await t.clock.advance(1_000_000);
      await rollcall.sweep();
      await expectNoLeftovers(await t.open());
    },
  },
  {
    name: "members come from batched async sources too",
    promise: "snapshot",
    async run(t) {
      const rollcall = await t.rollcall();
      async function* batches() {
        for (let i = 0; i < 300; i += 30) {
          await new Promise(setImmediate);
          yield people(i, i + 30);
        }
      }
      const report = await rollcall.replace(AUDIENCE, { included: batches() });
      assert.equal(report.received, 300);
      await expectMembers(await t.reader(), AUDIENCE, people(0, 310), people(0, 300));
    },
  },
  {
    name: "a snapshot that would leave less than half is refused, and changes nothing",
    promise: "wipe",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      const reader = await t.reader();
      await rollcall.replace(AUDIENCE, { included: people(0, 100), excluded: people(200, 210) });
      const refused = [
        { included: [] },
        { included: people(0, 49) },
        // Repeats and entries that are not valid do not count as members.
        { included: [...people(0, 30), ...people(0, 30), "", "\ud800"] },
        { included: people(0, 100), excluded: [] },
      ];
      for (const snapshot of refused) {
        await rejectsWith(rollcall.replace(AUDIENCE, snapshot), "shrink_guard");
        await expectMembers(reader, AUDIENCE, people(0, 220), people(0, 100));
        await expectCounts(rollcall, { included: 100, excluded: 10 });
      }
      await rollcall.replace(AUDIENCE, { included: people(0, 50) });
      await expectCounts(rollcall, { included: 50, excluded: 10 });
      await rollcall.replace(AUDIENCE, { included: [] }, { allowShrink: true });
      await expectMembers(reader, AUDIENCE, people(0, 220), []);
      await expectCounts(rollcall, { included: 0, excluded: 10 });
      await t.clock.advance(1_000_000);
      await rollcall.sweep();
      await expectNoLeftovers(store);
    },
  },
  {
    name: "the share that must remain can be set",
    promise: "wipe",
    async run(t) {
      const store = await t.open();
      const strict = await t.rollcall(store, { minRemaining: 0.9 });
      await strict.replace(AUDIENCE, { included: people(0, 100) });
      await rejectsWith(strict.replace(AUDIENCE, { included: people(0, 89) }), "shrink_guard");
      await strict.replace(AUDIENCE, { included: people(0, 90) });
      const lax = await t.rollcall(store, { minRemaining: 0 });
      await lax.replace(AUDIENCE, { included: [] });
      await expectCounts(lax, { included: 0 });
    },
  },
  {
    name: "the shrink guard counts what is there, also after a crash left the count inexact",
    promise: "wipe",
    async run(t) {
      const store = await t.open(undefined, SMALL_STEPS);
      const first = await t.rollcall(await t.open(undefined, SMALL_STEPS));
      await first.replace(AUDIENCE, { included: people(0, 20) });
      const dying = await t.rollcall(store);
      store.plan({ kind: "crash_after", at: 4, method: "writeBlocks" });
      await rejectsWith(dying.merge(AUDIENCE, { add: people(20, 100) }), "store_unavailable");
      assert.equal((await segmentOf(first)).included.count.exact, false);
      const reader = await t.reader();
      const present = await membersAmong(reader, AUDIENCE, people(0, 100));
      assert.ok(present.length > 20);
      const below = Math.ceil(present.length / 2) - 1;
      await rejectsWith(first.replace(AUDIENCE, { included: people(0, below) }), "shrink_guard");
      await first.replace(AUDIENCE, { included: people(0, below + 1) });
      await expectCounts(first, { included: below + 1 });
    },
  },
  {
    name: "a dry run says what would change, and changes nothing",
    promise: "repeat",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      await rollcall.replace(AUDIENCE, { included: people(0, 40) });
      const before = await registryOf(store);
      const replaced = await rollcall.replace(AUDIENCE, { included: people(10, 60) }, { dryRun: true });
      assert.equal(replaced.outcome, "planned");
      assert.deepEqual([replaced.added.value, replaced.removed.value, replaced.unchanged.value], [20, 10, 30]);
      assert.equal(replaced.members.included.value, 50);
      const merged = await rollcall.merge(AUDIENCE, { add: people(30, 50), remove: people(0, 5) }, { dryRun: true });
      assert.equal(merged.outcome, "planned");
      assert.deepEqual([merged.added.value, merged.removed.value], [10, 5]);
      await rejectsWith(rollcall.replace(AUDIENCE, { included: [] }, { dryRun: true }), "shrink_guard");
      await rollcall.merge("another", { add: people(0, 3) }, { dryRun: true });
      assert.deepEqual(await registryOf(store), before);
      await expectMembers(await t.reader(), AUDIENCE, people(0, 60), people(0, 40));
    },
  },
  {
    name: "an aborted sync ends with `aborted`, and the segment reads as before",
    promise: "snapshot",
    async run(t) {
      const store = await t.open(undefined, SMALL_STEPS);
      const rollcall = await t.rollcall(store);
      await rollcall.replace(AUDIENCE, { included: people(0, 40) });
      await rejectsWith(
        rollcall.replace(AUDIENCE, { included: people(0, 60) }, { signal: AbortSignal.abort() }),
        "aborted",
      );
      const controller = new AbortController();
      let writes = 0;
      store.beforeCall = (method) => {
        if (method === "writeBlocks" && ++writes === 3) controller.abort();
      };
      await rejectsWith(
        rollcall.replace(AUDIENCE, { included: people(20, 80) }, { signal: controller.signal }),
        "aborted",
      );
      store.beforeCall = undefined;
      const reader = await t.reader();
      await expectMembers(reader, AUDIENCE, people(0, 90), people(0, 40));
      await rollcall.replace(AUDIENCE, { included: people(20, 80) });
      await expectMembers(reader, AUDIENCE, people(0, 90), people(20, 80));
      await t.clock.advance(1_000_000);
      await rollcall.sweep();
      await expectNoLeftovers(store);
    },
  },
];
