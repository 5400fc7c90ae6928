// Dropping member sets: everything of theirs goes, nothing else does, and nothing comes back.

import assert from "node:assert/strict";
import type { MemberSet } from "@rollcall/core";
import { type Check, rejectsWith } from "../check.js";
import { fenceOf, found, hexOf, NO_HASHES, sampleHashes, scanned, write } from "../samples.js";

const fence = fenceOf(1);

export const dropChecks: readonly Check[] = [
  {
    name: "dropMemberSets removes members and fences, and is idempotent",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const sets = [await store.allocateMemberSet(4, fence), await store.allocateMemberSet(0, fence)];
      for (const set of sets) await write(store, set, fence, sampleHashes(0, 80));
      await store.dropMemberSets(sets);
      for (const handle of [store, other]) {
        assert.deepEqual(await handle.listMemberSets(), []);
        assert.deepEqual(await found(handle, sampleHashes(0, 80), sets), Array(80).fill([]));
        for (const set of sets) assert.deepEqual(await scanned(handle, set), []);
      }
      await store.dropMemberSets(sets);
      await other.dropMemberSets(sets);
      await store.dropMemberSets([]);
      await store.dropMemberSets([{ id: 4_000_000_000 as MemberSet["id"], shardBits: 3 }]);
      assert.deepEqual(await store.listMemberSets(), []);
    },
  },
  {
    name: "a drop leaves the other sets as they are, members and fences",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const sets: MemberSet[] = [];
      for (let i = 0; i < 9; i++) {
        const set = await store.allocateMemberSet(i % 3 === 0 ? 5 : 2, fence);
        await write(store, set, fence, sampleHashes(i, 60 + i));
        sets.push(set);
      }
      await store.dropMemberSets(sets.filter((_, i) => i % 2 === 0));
      for (const [i, set] of sets.entries()) {
        if (i % 2 === 0) continue;
        assert.deepEqual(await scanned(store, set), hexOf(sampleHashes(i, 60 + i)));
        assert.deepEqual(await write(store, set, fence, NO_HASHES, sampleHashes(i, i + 1)), { added: 0, removed: 1 });
      }
      assert.deepEqual(
        (await store.listMemberSets()).map(({ id }) => id).sort((a, b) => a - b),
        sets.filter((_, i) => i % 2 === 1).map(({ id }) => id),
      );
    },
  },
  {
    name: "a dropped set refuses every writer, and nothing comes back",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(2, fence);
      await write(store, set, fence, sampleHashes(0, 30));
      await other.dropMemberSets([set]);
      for (const writer of [fence, fenceOf(2, "writer-b"), fenceOf(99, "writer-c", { generation: 2 })]) {
        await rejectsWith(store.raiseFence(set, writer), "stale_lease");
        await rejectsWith(write(store, set, writer, sampleHashes(0, 30)), "stale_lease");
        await rejectsWith(write(store, set, writer, NO_HASHES, sampleHashes(0, 30)), "stale_lease");
      }
      await store.dropMemberSets([set]);
      await rejectsWith(store.raiseFence(set, fence), "stale_lease");
      assert.deepEqual(await scanned(store, set), []);
      assert.deepEqual(await store.listMemberSets(), []);
    },
  },
  {
    name: "a drop that runs against a writer ends, by its repeat, with nothing left",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      for (let round = 0; round < 8; round++) {
        const set = await store.allocateMemberSet(3, fence);
        await write(store, set, fence, sampleHashes(0, 40));
        const writers = Array.from({ length: 6 }, (_, i) =>
          write(store, set, fence, sampleHashes(40 + i * 10, 60 + i * 10)).catch((error) => error.code),
        );
        const [, ...ends] = await Promise.all([other.dropMemberSets([set]), ...writers]);
        for (const end of ends) assert.ok(end === "stale_lease" || typeof end === "object");
        await other.dropMemberSets([set]);
        assert.deepEqual(await scanned(store, set), []);
        assert.deepEqual(await store.listMemberSets(), []);
        await rejectsWith(write(store, set, fence, sampleHashes(0, 1)), "stale_lease");
      }
    },
  },
  {
    name: "racing drops of overlapping sets are all well",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const sets = await Promise.all(Array.from({ length: 8 }, () => store.allocateMemberSet(2, fence)));
      for (const set of sets) await write(store, set, fence, sampleHashes(0, 20));
      await Promise.all([
        store.dropMemberSets(sets.slice(0, 5)),
        other.dropMemberSets(sets.slice(2, 7)),
        store.dropMemberSets(sets.slice(4, 5)),
      ]);
      const [left] = sets.slice(7);
      assert.deepEqual(
        (await other.listMemberSets()).map(({ id }) => id),
        [left?.id],
      );
      assert.deepEqual(await found(store, sampleHashes(0, 20), sets), Array(20).fill([left?.id]));
    },
  },
];
