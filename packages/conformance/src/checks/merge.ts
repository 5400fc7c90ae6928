// merge: deltas, groups of them, and what a member may be.

import assert from "node:assert/strict";
import { isRollcallError } from "@rollcall/core";
import { AUDIENCE, expectCounts, expectMembers, membersAmong, people, SMALL_STEPS } from "../audience.js";
import type { Check } from "../check.js";

export const mergeChecks: readonly Check[] = [
  {
    name: "a merge creates the segment, and its report counts exactly",
    promise: "counts",
    async run(t) {
      const rollcall = await t.rollcall();
      const exact = (value: number) => ({ value, exact: true });
      const first = await rollcall.merge(AUDIENCE, { add: people(0, 50) });
      assert.equal(first.outcome, "applied");
      assert.equal(first.received, 50);
      assert.deepEqual([first.added, first.removed, first.unchanged], [exact(50), exact(0), exact(0)]);
      const second = await rollcall.merge(AUDIENCE, { add: people(40, 60), remove: people(0, 5) });
      assert.deepEqual([second.added, second.removed, second.unchanged], [exact(10), exact(5), exact(10)]);
      assert.deepEqual(second.members, { included: exact(55), excluded: exact(0) });
      const third = await rollcall.merge(AUDIENCE, { add: people(40, 60), remove: people(0, 5) });
      assert.deepEqual([third.added, third.removed, third.unchanged], [exact(0), exact(0), exact(25)]);
      await expectCounts(rollcall, { included: 55 });
      await expectMembers(await t.reader(), AUDIENCE, people(0, 70), people(5, 60));
      const history = await rollcall.getHistory(AUDIENCE);
      assert.deepEqual(
        history.map(({ added }) => added.value),
        [0, 10, 50],
      );
    },
  },
  {
    name: "inside one delta the last word on a member wins",
    promise: "order",
    async run(t) {
      const rollcall = await t.rollcall(await t.open(undefined, SMALL_STEPS));
      await rollcall.merge(AUDIENCE, { add: people(0, 10) });
      const say = (change: "add" | "remove") => (member: string) => ({ member, change });
      const report = await rollcall.merge(AUDIENCE, {
        changes: [
          ...people(0, 20).map(say("remove")),
          ...people(5, 20).map(say("add")),
          ...people(15, 20).map(say("remove")),
          ...people(15, 17).map(say("add")),
        ],
      });
      assert.equal(report.received, 42);
      assert.equal(report.duplicates, 22);
      assert.deepEqual([report.added.value, report.removed.value, report.unchanged.value], [7, 5, 8]);
      // Two lists: removals come after additions.
      await rollcall.merge(AUDIENCE, { add: people(20, 30), remove: people(25, 30) });
      await expectMembers(await t.reader(), AUDIENCE, people(0, 40), [...people(5, 17), ...people(20, 25)]);
    },
  },
  {
    name: "acknowledged syncs take effect one after the other, also from several writers",
    promise: "order",
    async run(t) {
      const [first, second] = [await t.rollcall(), await t.rollcall()];
      const reader = await t.reader();
      for (let round = 0; round < 6; round++) {
        await first.merge(AUDIENCE, { add: people(0, 10), remove: people(10, 20) });
        await second.merge(AUDIENCE, { add: people(10, 20), remove: people(0, 10) });
        await expectMembers(reader, AUDIENCE, people(0, 20), people(10, 20));
      }
      await first.replace(AUDIENCE, { included: people(0, 12) });
      await second.merge(AUDIENCE, { remove: people(0, 1) });
      await expectMembers(reader, AUDIENCE, people(0, 20), people(1, 12));
      await expectCounts(second, { included: 11 });
    },
  },
  {
    name: "included beats excluded, and each list changes on its own",
    promise: "member",
    async run(t) {
      const rollcall = await t.rollcall();
      await rollcall.merge(AUDIENCE, { add: people(0, 10) });
      await rollcall.merge(AUDIENCE, { add: people(5, 15) }, { list: "excluded" });
      await expectCounts(rollcall, { included: 10, excluded: 10 });
      const reader = await t.reader();
      const answers = await Promise.all(
        [0, 5, 12, 20].map((n) => reader.isMember(AUDIENCE, { kind: "user", key: `person-${n}` })),
      );
      assert.deepEqual(
        answers.map(({ decision, status }) => [decision, status]),
        [
          ["included", "healthy"],
          ["included", "healthy"],
          ["excluded", "healthy"],
          ["none", "healthy"],
        ],
      );
      for (const [n, decision] of [
        [5, true],
        [12, false],
        [20, undefined],
      ] as const) {
        const { segments } = await reader.membership({ kind: "user", key: `person-${n}` });
        assert.equal(segments.get(AUDIENCE), decision);
      }
      await rollcall.merge(AUDIENCE, { remove: people(0, 100) }, { list: "excluded" });
      await expectMembers(reader, AUDIENCE, people(0, 20), people(0, 10));
    },
  },
  {
    name: "of many concurrent merges all are in, in few commits, and a bad one fails alone",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      await rollcall.merge(AUDIENCE, { add: people(0, 1) });
      const callsBefore = store.calls.filter((method) => method === "putSegment").length;
      const good = Array.from({ length: 60 }, (_, i) => rollcall.merge(AUDIENCE, { add: people(i * 5, i * 5 + 10) }));
      const bad = [
        rollcall.merge(AUDIENCE, { add: people(900, 910) }, { contextKind: "device" }),
        rollcall.merge(
          AUDIENCE,
          { add: people(910, 920) },
          { sourcePosition: { source: "s", expect: "7", next: "8" } },
        ),
      ];
      const later = Array.from({ length: 40 }, (_, i) => rollcall.merge(AUDIENCE, { remove: people(i, i + 1) }));
      const outcomes = await Promise.allSettled(bad);
      for (const [i, code] of (["context_kind_mismatch", "out_of_order"] as const).entries()) {
        const outcome = outcomes[i];
        assert.ok(outcome?.status === "rejected" && isRollcallError(outcome.reason, code));
      }
      const reports = await Promise.all([...good, ...later]);
      for (const report of reports) assert.equal(report.outcome, "applied");
      const commits = store.calls.filter((method) => method === "putSegment").length - callsBefore;
      assert.ok(commits < 60, `${commits} registry writes for 100 merges`);
      const reader = await t.reader();
      await reader.refresh();
      const universe = people(0, 1_000);
      const members = await membersAmong(reader, AUDIENCE, universe);
      // A removal and an addition of one member that overlap may come in either order: the rest is certain.
      assert.deepEqual(
        members.filter((key) => Number(key.slice(7)) >= 40),
        people(40, 305),
      );
      await expectCounts(rollcall, { included: members.length });
      // A set may still be growing when its merges are answered, and what is being written cannot be verified.
      await rollcall.close();
      assert.deepEqual((await (await t.rollcall(store)).verify()).findings, []);
    },
  },
  {
    name: "concurrent merges of many segments through two writers are all in",
    promise: "writer",
    async run(t) {
      const writers = [await t.rollcall(), await t.rollcall()] as const;
      const keys = Array.from({ length: 6 }, (_, i) => `segment-${i}`);
      await Promise.all(
        keys.flatMap((key, i) =>
          [0, 1, 2, 3].map((part) =>
            writers[part % 2 ? 1 : 0].merge(key, { add: people(i + part * 20, i + part * 20 + 20) }),
          ),
        ),
      );
      const reader = await t.reader();
      for (const [i, key] of keys.entries()) {
        await expectMembers(reader, key, people(0, 100), people(i, i + 80));
        await expectCounts(writers[0], { included: 80 }, key);
      }
    },
  },
];
