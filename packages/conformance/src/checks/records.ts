// What a sync keeps of a segment besides members: details, kind, sync ids, source positions.

import assert from "node:assert/strict";
import { AUDIENCE, expectCounts, expectMembers, people, registryOf, segmentOf } from "../audience.js";
import { type Check, rejectsWith } from "../check.js";

export const recordChecks: readonly Check[] = [
  {
    name: "a detail set by hand is never overwritten by a sync",
    promise: "manual",
    async run(t) {
      const [rollcall, other] = [await t.rollcall(), await t.rollcall()];
      await rollcall.merge(AUDIENCE, { add: people(0, 3) }, { details: { name: "from sync", tags: ["a"] } });
      assert.deepEqual((await segmentOf(rollcall)).details, {
        name: { value: "from sync", origin: "sync" },
        tags: { value: ["a"], origin: "sync" },
      });
      const edited = await other.editDetails(AUDIENCE, { name: "by hand" });
      assert.deepEqual(edited.details.name, { value: "by hand", origin: "manual" });
      const details = { name: "from sync 2", description: "text", tags: ["b", "c"] };
      await rollcall.merge(AUDIENCE, { add: people(3, 5) }, { details });
      await rollcall.replace(AUDIENCE, { included: people(0, 9) }, { details });
      assert.deepEqual((await segmentOf(other)).details, {
        name: { value: "by hand", origin: "manual" },
        description: { value: "text", origin: "sync" },
        tags: { value: ["b", "c"], origin: "sync" },
      });
      await other.editDetails(AUDIENCE, { tags: [], description: "" });
      await rollcall.merge(AUDIENCE, { add: people(0, 1) }, { details });
      const last = (await segmentOf(rollcall)).details;
      assert.deepEqual(last.tags, { value: [], origin: "manual" });
      assert.deepEqual(last.description, { value: "", origin: "manual" });
      await rejectsWith(rollcall.editDetails("nobody", { name: "x" }), "unknown_segment");
      await rejectsWith(rollcall.editDetails(AUDIENCE, { title: "x" } as never), "invalid_request");
    },
  },
  {
    name: "editing details during a sync loses neither",
    promise: "manual",
    async run(t) {
      const store = await t.open();
      const [rollcall, other] = [await t.rollcall(store), await t.rollcall()];
      await rollcall.replace(AUDIENCE, { included: people(0, 10) });
      let edits = 0;
      store.beforeCall = async (method) => {
        // The edit comes between the reading and the writing of the record by the sync.
        if (method === "putSegment" && edits < 4) await other.editDetails(AUDIENCE, { name: `by hand ${++edits}` });
      };
      const report = await rollcall.merge(
        AUDIENCE,
        { add: people(10, 20) },
        { details: { name: "sync", tags: ["t"] } },
      );
      store.beforeCall = undefined;
      assert.equal(report.outcome, "applied");
      assert.equal(edits, 4);
      const { details } = await segmentOf(rollcall);
      assert.deepEqual(details.name, { value: `by hand ${edits}`, origin: "manual" });
      assert.deepEqual(details.tags, { value: ["t"], origin: "sync" });
      await expectCounts(rollcall, { included: 20 });
    },
  },
  {
    name: "a sync with another context kind is refused, and nothing of it is applied",
    promise: "kind",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      const reader = await t.reader();
      await rollcall.merge(AUDIENCE, { add: people(0, 5) }, { contextKind: "device" });
      const before = await registryOf(store);
      const options = {
        contextKind: "user",
        details: { name: "other" },
        syncId: "one",
        sourcePosition: { source: "s", next: "1" },
      };
      await rejectsWith(rollcall.merge(AUDIENCE, { add: people(5, 9) }, options), "context_kind_mismatch");
      await rejectsWith(rollcall.replace(AUDIENCE, { included: people(0, 9) }, options), "context_kind_mismatch");
      await rejectsWith(rollcall.merge(AUDIENCE, { remove: people(0, 5) }), "context_kind_mismatch");
      assert.deepEqual(await registryOf(store), before);
      for (const [kind, member] of [
        ["device", true],
        ["user", false],
        ["Device", false],
      ] as const) {
        assert.equal((await reader.isMember(AUDIENCE, { kind, key: "person-1" })).member, member);
        const { segments } = await reader.membership({ kind, key: "person-1" });
        assert.equal(segments.get(AUDIENCE), member || undefined);
      }
      assert.equal((await reader.isMember(AUDIENCE, { kind: "device", key: "person-7" })).member, false);
    },
  },
  {
    name: "a sync id is recognised later too, and not applied again",
    promise: "repeat",
    async run(t) {
      const [rollcall, other] = [await t.rollcall(), await t.rollcall()];
      const reader = await t.reader();
      const first = await rollcall.merge(AUDIENCE, { add: people(0, 5) }, { syncId: "monday" });
      assert.equal(first.outcome, "applied");
      await rollcall.merge(AUDIENCE, { remove: people(0, 2) });
      for (let i = 0; i < 20; i++)
        await rollcall.merge(AUDIENCE, { add: people(10 + i, 11 + i) }, { syncId: `id-${i}` });
      const again = await other.merge(AUDIENCE, { add: people(0, 5) }, { syncId: "monday" });
      assert.equal(again.outcome, "already_applied");
      await expectMembers(reader, AUDIENCE, people(0, 40), [...people(2, 5), ...people(10, 30)]);
      const whole = await rollcall.replace(AUDIENCE, { included: people(0, 30) }, { syncId: "snapshot" });
      assert.equal(whole.outcome, "applied");
      await rollcall.merge(AUDIENCE, { remove: people(0, 1) });
      const repeated = await other.replace(AUDIENCE, { included: people(0, 30) }, { syncId: "snapshot" });
      assert.equal(repeated.outcome, "already_applied");
      await expectMembers(reader, AUDIENCE, people(0, 40), people(1, 30));
      await expectCounts(rollcall, { included: 29 });
    },
  },
  {
    name: "a source position is checked and moved with the members",
    promise: "order",
    async run(t) {
      const [rollcall, other] = [await t.rollcall(), await t.rollcall()];
      const reader = await t.reader();
      const at = (expect: string | undefined, next: string, source = "topic-0") => ({
        sourcePosition: { source, next, ...(expect === undefined ? {} : { expect }) },
      });
      await rollcall.merge(AUDIENCE, { add: people(0, 2) }, at(undefined, "10"));
      await rollcall.merge(AUDIENCE, { add: people(2, 4) }, at("10", "20"));
      await rejectsWith(other.merge(AUDIENCE, { add: people(4, 6) }, at("10", "30")), "out_of_order");
      await rejectsWith(other.merge(AUDIENCE, { add: people(4, 6) }, at(undefined, "30")), "out_of_order");
      await rejectsWith(other.replace(AUDIENCE, { included: people(0, 9) }, at("9", "30")), "out_of_order");
      await expectMembers(reader, AUDIENCE, people(0, 10), people(0, 4));
      await rollcall.merge(AUDIENCE, { remove: people(0, 1) });
      const repeated = await other.merge(AUDIENCE, { add: people(0, 4) }, at("10", "20"));
      assert.equal(repeated.outcome, "already_applied");
      await other.merge(AUDIENCE, { add: people(7, 8) }, at(undefined, "1", "topic-1"));
      await expectMembers(reader, AUDIENCE, people(0, 10), [...people(1, 4), ...people(7, 8)]);
      assert.deepEqual(
        new Map((await segmentOf(rollcall)).positions.map(({ source, position }) => [source, position])),
        new Map([
          ["topic-0", "20"],
          ["topic-1", "1"],
        ]),
      );
      await rollcall.setEnvironmentPosition("topic-0", "20");
      await other.setEnvironmentPosition("topic-1", "1");
      await rollcall.setEnvironmentPosition("topic-0", "30");
      const { positions } = await other.getEnvironment();
      assert.deepEqual(new Map(positions.map(({ source, position }) => [source, position])).get("topic-0"), "30");
      assert.equal(positions.length, 2);
    },
  },
  {
    name: "one segment key in two environments is two segments",
    promise: "isolation",
    async run(t) {
      const [store, other] = [await t.open("prod"), await t.open("prod2")];
      const [rollcall, neighbour] = [await t.rollcall(store), await t.rollcall(other, { pepper: "p" })];
      await rollcall.replace(AUDIENCE, { included: people(0, 20) });
      await neighbour.replace(
        AUDIENCE,
        { included: people(10, 30) },
        { contextKind: "user", details: { name: "two" } },
      );
      await expectMembers(await t.reader(store), AUDIENCE, people(0, 40), people(0, 20));
      await expectMembers(await t.reader(other, { pepper: "p" }), AUDIENCE, people(0, 40), people(10, 30));
      assert.deepEqual((await segmentOf(rollcall)).details, {});
      await neighbour.deleteSegment(AUDIENCE);
      await t.clock.advance(1_000_000);
      await neighbour.sweep();
      assert.deepEqual(await other.listMemberSets(), []);
      await expectMembers(await t.reader(store), AUDIENCE, people(0, 40), people(0, 20));
      assert.deepEqual((await rollcall.verify()).findings, []);
    },
  },
];
