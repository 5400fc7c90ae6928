// What keeps an environment in order: forget, deletion, sweep, growth, verify.

import assert from "node:assert/strict";
import { contextHash, hashCount, type SegmentStore, shardBitsFor } from "@rollcall/core";
import {
  AUDIENCE,
  expectCounts,
  expectMembers,
  expectNoLeftovers,
  isStored,
  membersAmong,
  people,
  SMALL_STEPS,
  segmentOf,
} from "../audience.js";
import { type Check, rejectsWith } from "../check.js";
import type { FaultyStore } from "../faulty-store.js";
import { fenceOf, found, sampleHashes, write } from "../samples.js";

const GRACE_MS = 60_000;

export const upkeepChecks: readonly Check[] = [
  {
    name: "forget removes a context from every set, retired and staged ones too",
    promise: "secrecy",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      const reader = await t.reader();
      const key = "person-5";
      await rollcall.replace("one", { included: people(0, 20) });
      await rollcall.replace("one", { included: people(0, 21) });
      await rollcall.merge("two", { add: people(0, 10) }, { list: "excluded" });
      await rollcall.replace("old", { included: people(0, 10) });
      await rollcall.replace("old", { included: people(6, 16) });
      await rollcall.merge("devices", { add: people(0, 10) }, { contextKind: "device" });
      await rollcall.merge("untouched", { add: people(6, 9) });
      await rollcall.merge("gone", { add: people(0, 10) });
      await rollcall.deleteSegment("gone");
      // A writer dies in the middle of a snapshot: its staged set holds the context too.
      const dyingStore = await t.open(undefined, SMALL_STEPS);
      const dying = await t.rollcall(dyingStore);
      dyingStore.plan({ kind: "crash_after", at: 5, method: "writeBlocks" });
      await rejectsWith(dying.replace("staged", { included: people(0, 60) }), "store_unavailable");

      const report = await rollcall.forget({ kind: "user", key });
      for (const segment of ["one", "two"]) assert.ok(report.segments.includes(segment));
      for (const segment of ["devices", "untouched"]) assert.ok(!report.segments.includes(segment));
      const sets = (await store.listSegments())
        .filter(({ contextKind }) => contextKind === "user")
        .flatMap(({ included, excluded, staged, retired }) => [
          ...[included.set, excluded.set].filter((set) => set !== undefined),
          ...staged,
          ...retired.map(({ set }) => set),
        ]);
      assert.ok(sets.length >= 5);
      const user = await t.open();
      const hash = contextHash(key);
      assert.ok(hash !== undefined);
      assert.deepEqual(await found(user, hash, sets), [[]]);
      await expectMembers(reader, "one", people(0, 30), [...people(0, 5), ...people(6, 21)]);
      await expectCounts(rollcall, { included: 20 }, "one");
      await expectCounts(rollcall, { excluded: 9 }, "two");
      assert.deepEqual(await membersAmong(reader, "devices", [key], "device"), [key]);
      assert.deepEqual((await rollcall.forget({ kind: "user", key })).segments, []);
      assert.deepEqual((await rollcall.forget({ kind: "nobody", key })).segments, []);
    },
  },
  {
    name: "a deleted segment is unknown; made again it starts empty, with the next generation and a higher token",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const [rollcall, other] = [await t.rollcall(store), await t.rollcall()];
      const reader = await t.reader();
      await rollcall.merge(AUDIENCE, { add: people(0, 10) }, { details: { name: "n" }, syncId: "one" });
      await rollcall.editDetails(AUDIENCE, { description: "by hand" });
      const before = await segmentOf(rollcall);
      await rollcall.deleteSegment(AUDIENCE);
      assert.equal(await other.getSegment(AUDIENCE), undefined);
      assert.deepEqual(await other.listSegments(), []);
      await reader.refresh();
      const answer = await reader.isMember(AUDIENCE, { kind: "user", key: "person-1" });
      assert.deepEqual(answer, { member: false, decision: "none", status: "unknown_segment" });
      await rejectsWith(other.deleteSegment(AUDIENCE), "unknown_segment");
      await rejectsWith(other.editDetails(AUDIENCE, { name: "x" }), "unknown_segment");
      assert.equal((await store.getSegment(before.key))?.state, "deleted");

      await other.merge(AUDIENCE, { add: people(20, 25) }, { contextKind: "device", syncId: "one" });
      const after = await segmentOf(other);
      assert.equal(after.generation, before.generation + 1);
      assert.ok(after.lease.token > before.lease.token);
      assert.deepEqual(after.details, {});
      assert.equal(after.contextKind, "device");
      await expectCounts(other, { included: 5 });
      await reader.refresh();
      assert.deepEqual(await membersAmong(reader, AUDIENCE, people(0, 30), "device"), people(20, 25));
      await t.clock.advance(1_000_000);
      await other.sweep();
      await expectNoLeftovers(store);
      assert.deepEqual((await other.verify()).findings, []);
    },
  },
  {
    name: "a replaced set answers until the grace period is over, and not long after",
    promise: "snapshot",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store, { graceMs: GRACE_MS });
      await rollcall.replace(AUDIENCE, { included: people(0, 20) });
      const old = (await segmentOf(rollcall)).included.set;
      assert.ok(old !== undefined);
      await rollcall.replace(AUDIENCE, { included: people(0, 30) });
      const hash = contextHash("person-3");
      assert.ok(hash !== undefined);
      for (let waited = 0; waited + 10_000 < GRACE_MS; waited += 10_000) {
        assert.deepEqual(await rollcall.sweep(), { droppedSets: 0, waitingSets: 1 });
        assert.deepEqual(await found(store, hash, [old]), [[old.id]]);
        await t.clock.advance(10_000);
      }
      await t.clock.advance(20_000);
      assert.deepEqual(await rollcall.sweep(), { droppedSets: 1, waitingSets: 0 });
      assert.deepEqual(await found(store, hash, [old]), [[]]);
      assert.deepEqual((await segmentOf(rollcall)).retired, []);
      await expectNoLeftovers(store);
      await expectMembers(await t.reader(), AUDIENCE, people(0, 40), people(0, 30));
      assert.deepEqual(await rollcall.sweep(), { droppedSets: 0, waitingSets: 0 });
    },
  },
  {
    name: "sweep takes the staged sets of a dead writer, and leaves those of a living one",
    promise: "writer",
    async run(t) {
      const store = await t.open(undefined, SMALL_STEPS);
      const rollcall = await t.rollcall(store);
      const sweeper = await t.rollcall();
      await rollcall.replace(AUDIENCE, { included: people(0, 40) });
      await t.clock.advance(1_000_000);
      let sweeps = 0;
      store.beforeCall = async (method) => {
        if (method !== "writeBlocks") return;
        await sweeper.sweep();
        sweeps++;
      };
      await rollcall.replace(AUDIENCE, { included: people(0, 60) });
      store.beforeCall = undefined;
      assert.ok(sweeps > 3);
      const reader = await t.reader();
      await expectMembers(reader, AUDIENCE, people(0, 80), people(0, 60));

      const dyingStore = await t.open(undefined, SMALL_STEPS);
      dyingStore.plan({ kind: "crash_after", at: 5, method: "writeBlocks" });
      const dying = await t.rollcall(dyingStore);
      await rejectsWith(dying.replace(AUDIENCE, { included: people(0, 70) }), "store_unavailable");
      await t.clock.advance(1_000_000);
      await sweeper.sweep();
      await t.clock.advance(1_000_000);
      await sweeper.sweep();
      await expectNoLeftovers(store);
      await expectMembers(reader, AUDIENCE, people(0, 80), people(0, 60));
      assert.deepEqual((await segmentOf(sweeper)).staged, []);
    },
  },
  {
    name: "a set that outgrows its blocks is rewritten, and reads the same throughout",
    promise: "snapshot",
    async run(t) {
      const grown = { chooseShardBits: ({ members }: { members: number }) => shardBitsFor(members, 4) };
      const store = await t.open(undefined, grown);
      const rollcall = await t.rollcall(store);
      const reader = await t.reader(undefined, { pollMs: 10 });
      await rollcall.merge(AUDIENCE, { add: people(0, 8) });
      const before = (await segmentOf(rollcall)).included.set;
      store.beforeCall = async () => {
        await t.clock.advance(20);
        assert.deepEqual(await membersAmong(reader, AUDIENCE, people(0, 8)), people(0, 8));
      };
      for (let n = 8; n < 200; n += 24) await rollcall.merge(AUDIENCE, { add: people(n, n + 24) });
      store.beforeCall = undefined;
      await rollcall.close();
      const after = (await segmentOf(await t.rollcall())).included.set;
      assert.ok(before !== undefined && after !== undefined && after.shardBits >= before.shardBits + 2);
      assert.notEqual(after.id, before.id);
      const later = await t.rollcall();
      await expectMembers(reader, AUDIENCE, people(0, 220), people(0, 200));
      await expectCounts(later, { included: 200 });
      await t.clock.advance(1_000_000);
      await later.sweep();
      await expectNoLeftovers(store);
    },
  },
  {
    name: "a merge far larger than its set gives it smaller blocks first, and reads the same until it is done",
    promise: "snapshot",
    async run(t) {
      const grown = { chooseShardBits: ({ members }: { members: number }) => shardBitsFor(members, 2) };
      const LARGEST_BLOCK = 2 * 2 ** 6;
      const merge = async (store: FaultyStore) => {
        const watched: SegmentStore = {
          ...store,
          writeBlocks(set, blocks, fence) {
            for (const { adds } of blocks) assert.ok(hashCount(adds) <= LARGEST_BLOCK, "the copy comes first");
            return store.writeBlocks(set, blocks, fence);
          },
        };
        await (await t.rollcall(watched)).merge(AUDIENCE, { add: people(2, 300), remove: people(0, 1) });
      };
      // Each call of the merge fails, in either way: meanwhile the old members are there, and the repeat ends as it should.
      for (const kind of ["crash_after", "lose_reply"] as const) {
        for (let at = 1, isOver = false; !isOver; at++) {
          const environment = `large-merge-${kind}-${at}`;
          const [calm, store] = [await t.open(environment, grown), await t.open(environment, grown)];
          const rollcall = await t.rollcall(calm);
          const reader = await t.reader(calm, { pollMs: 10 });
          await rollcall.merge(AUDIENCE, { add: people(0, 3) });
          const before = (await segmentOf(rollcall)).included.set;
          assert.ok(before !== undefined);
          store.beforeCall = async () => {
            await t.clock.advance(20);
            assert.deepEqual(await membersAmong(reader, AUDIENCE, people(1, 3)), people(1, 3));
          };
          store.plan({ kind, at });
          await merge(store).catch((error) => assert.equal(error.code, "store_unavailable"));
          isOver = store.planned !== undefined;
          await merge(await t.open(environment, grown));
          const after = (await segmentOf(rollcall)).included.set;
          assert.ok(after !== undefined && after.shardBits >= before.shardBits + 6);
          await t.clock.advance(20);
          await expectMembers(reader, AUDIENCE, people(0, 320), people(1, 300));
          const { count } = (await segmentOf(rollcall)).included;
          if (count.exact) assert.equal(count.value, 299);
          for (let pass = 0; pass < 2; pass++) {
            await t.clock.advance(1_000_000);
            await rollcall.sweep();
          }
          await expectNoLeftovers(calm);
          await rollcall.verify({ repair: true });
          await expectCounts(rollcall, { included: 299 });
        }
      }
    },
  },
  {
    name: "verify finds nothing where nothing is wrong",
    promise: "counts",
    async run(t) {
      const rollcall = await t.rollcall(await t.open(undefined, SMALL_STEPS));
      assert.deepEqual(await rollcall.verify(), { segments: 0, members: 0, findings: [] });
      await rollcall.replace("one", { included: people(0, 30), excluded: people(30, 40) });
      await rollcall.replace("one", { included: people(0, 40) });
      await rollcall.merge("two", { add: people(0, 25), remove: people(0, 5) });
      await rollcall.merge("gone", { add: people(0, 5) });
      await rollcall.deleteSegment("gone");
      const before = await rollcall.store.listMemberSets();
      for (const repair of [false, true]) {
        const report = await rollcall.verify({ repair });
        assert.deepEqual(report, { segments: 2, members: 70, findings: [] });
      }
      const after = await rollcall.store.listMemberSets();
      assert.deepEqual(new Set(after.map(({ id }) => id)), new Set(before.map(({ id }) => id)));
      await expectCounts(rollcall, { included: 40, excluded: 10 }, "one");
      await expectCounts(rollcall, { included: 20 }, "two");
    },
  },
  {
    name: "a count is marked inexact after a crash, and verify makes it exact again",
    promise: "counts",
    async run(t) {
      const rollcall = await t.rollcall(await t.open(undefined, SMALL_STEPS));
      await rollcall.merge(AUDIENCE, { add: people(0, 40) });
      const store = await t.open(undefined, SMALL_STEPS);
      store.plan({ kind: "crash_after", at: 4, method: "writeBlocks" });
      await rejectsWith((await t.rollcall(store)).merge(AUDIENCE, { add: people(40, 100) }), "store_unavailable");
      assert.equal((await segmentOf(rollcall)).included.count.exact, false);
      await t.clock.advance(1_000_000);
      const looked = await rollcall.verify();
      assert.deepEqual(
        looked.findings.map(({ kind, repaired }) => [kind, repaired]),
        [["count", false]],
      );
      assert.equal((await segmentOf(rollcall)).included.count.exact, false);
      const repaired = await rollcall.verify({ repair: true });
      assert.deepEqual(
        repaired.findings.map(({ kind, repaired }) => [kind, repaired]),
        [["count", true]],
      );
      const members = await membersAmong(await t.reader(), AUDIENCE, people(0, 100));
      await expectCounts(rollcall, { included: members.length });
      assert.deepEqual((await rollcall.verify()).findings, []);
      // Repeating the sync that died ends in its state.
      await rollcall.merge(AUDIENCE, { add: people(40, 100) });
      await expectCounts(rollcall, { included: 100 });
    },
  },
  {
    name: "verify finds sets that nobody points at, and sets without a fence",
    promise: "counts",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      await rollcall.merge(AUDIENCE, { add: people(0, 20) });
      await rollcall.merge("other", { add: people(0, 20) });
      const orphan = await store.allocateMemberSet(3, fenceOf(1));
      await write(store, orphan, fenceOf(1), sampleHashes(0, 10));
      const lost = (await segmentOf(rollcall, "other")).included.set;
      assert.ok(lost !== undefined);
      await store.dropMemberSets([lost]);
      await t.clock.advance(1_000_000);
      const looked = await rollcall.verify();
      const kinds = new Set(looked.findings.map(({ kind }) => kind));
      assert.ok(kinds.has("orphan_set") && kinds.has("missing_fence"));
      assert.ok(looked.findings.some(({ kind, set }) => kind === "orphan_set" && set === orphan.id));
      assert.ok(looked.findings.every(({ repaired }) => !repaired));
      assert.equal((await store.listMemberSets()).length, 2);
      await rollcall.verify({ repair: true });
      await t.clock.advance(1_000_000);
      await rollcall.sweep();
      await expectNoLeftovers(store);
      await expectMembers(await t.reader(), AUDIENCE, people(0, 30), people(0, 20));
      // The segment whose set was lost can be synced again.
      await rollcall.replace("other", { included: people(0, 20) });
      await expectMembers(await t.reader(), "other", people(0, 30), people(0, 20));
      assert.deepEqual((await rollcall.verify()).findings, []);
    },
  },
  {
    name: "a forgotten context is nowhere, also after the sweep",
    promise: "secrecy",
    async run(t) {
      const store = await t.open();
      const rollcall = await t.rollcall(store);
      for (const segment of ["a", "b", "c"]) await rollcall.replace(segment, { included: people(0, 12) });
      await rollcall.forget({ kind: "user", key: "person-4" });
      assert.equal(await isStored(store, "person-4"), false);
      assert.equal(await isStored(store, "person-3"), true);
      await t.clock.advance(1_000_000);
      await rollcall.sweep();
      assert.equal(await isStored(store, "person-4"), false);
      assert.deepEqual((await rollcall.verify()).findings, []);
    },
  },
];
