// Allocation and fences: who may write a member set.

import assert from "node:assert/strict";
import { isRollcallError } from "@rollcall/core";
import { type Check, rejectsWith } from "../check.js";
import { fenceOf, keyOf, NO_HASHES, packed, sampleHash, sampleHashes, scanned, write } from "../samples.js";

/** One shard only: every write touches the one block there is. */
const ONE_BLOCK = 0;

export const fenceChecks: readonly Check[] = [
  {
    name: "allocateMemberSet creates an empty set with its fence",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(7, fenceOf(4));
      assert.ok(Number.isInteger(set.id) && set.id >= 1 && set.id <= 0xffff_ffff);
      assert.equal(set.shardBits, 7);
      assert.deepEqual(await other.listMemberSets(), [{ ...set, fence: fenceOf(4) }]);
      assert.deepEqual(await scanned(other, set), []);
      await rejectsWith(other.raiseFence(set, fenceOf(3)), "stale_lease");
    },
  },
  {
    name: "a set number is never given twice: not to racing handles, not after drops, not after closing",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const ids: number[] = [];
      for (let round = 0; round < 4; round++) {
        const sets = await Promise.all(
          Array.from({ length: 10 }, (_, i) => (i % 2 ? store : other).allocateMemberSet(2, fenceOf(1))),
        );
        ids.push(...sets.map(({ id }) => id));
        for (const set of sets) await write(store, set, fenceOf(1), sampleHashes(0, 4));
        await store.dropMemberSets(sets);
        const late = await t.open();
        const single = await late.allocateMemberSet(2, fenceOf(1));
        ids.push(single.id);
        await late.dropMemberSets([single]);
        await late.close();
      }
      assert.equal(new Set(ids).size, ids.length);
    },
  },
  {
    name: "raiseFence lets the same and newer writers through, and is idempotent",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(3, fenceOf(1));
      await store.raiseFence(set, fenceOf(1));
      await store.raiseFence(set, fenceOf(5, "writer-b"));
      await store.raiseFence(set, fenceOf(5, "writer-b"));
      assert.deepEqual(await store.listMemberSets(), [{ ...set, fence: fenceOf(5, "writer-b") }]);
      assert.deepEqual(await write(store, set, fenceOf(5, "writer-b"), sampleHashes(0, 20)), { added: 20, removed: 0 });
      await store.raiseFence(set, fenceOf(6, "writer-a"));
      assert.equal((await scanned(store, set)).length, 20);
    },
  },
  {
    name: "raiseFence refuses an older token",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(3, fenceOf(5));
      await rejectsWith(other.raiseFence(set, fenceOf(4)), "stale_lease");
      await rejectsWith(other.raiseFence(set, fenceOf(4, "writer-b")), "stale_lease");
      await store.raiseFence(set, fenceOf(300, "writer-b"));
      // Tokens are numbers: as text "5" would be above "300".
      await rejectsWith(other.raiseFence(set, fenceOf(5)), "stale_lease");
      await store.raiseFence(set, fenceOf(2 ** 40));
      await rejectsWith(other.raiseFence(set, fenceOf(2 ** 40 - 1)), "stale_lease");
    },
  },
  {
    name: "raiseFence refuses the same token of another holder",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(3, fenceOf(5, "writer-a"));
      await rejectsWith(store.raiseFence(set, fenceOf(5, "writer-b")), "stale_lease");
      await rejectsWith(store.raiseFence(set, fenceOf(5, "writer-A")), "stale_lease");
      await store.raiseFence(set, fenceOf(5, "writer-a"));
    },
  },
  {
    name: "a fence of another segment or generation is refused, whatever its token",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(ONE_BLOCK, fenceOf(5));
      for (const more of [{ segmentKey: keyOf("other") }, { segmentKey: keyOf("Audience") }, { generation: 2 }]) {
        const foreign = fenceOf(9, "writer-a", more);
        await rejectsWith(store.raiseFence(set, foreign), "stale_lease");
        await rejectsWith(write(store, set, foreign, sampleHashes(0, 2)), "stale_lease");
      }
      assert.deepEqual(await scanned(store, set), []);
      assert.deepEqual(await store.listMemberSets(), [{ ...set, fence: fenceOf(5) }]);
    },
  },
  {
    name: "after raiseFence an older writer changes no block at all",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(5, fenceOf(1));
      await write(store, set, fenceOf(1), sampleHashes(0, 100));
      const before = await scanned(store, set);
      await other.raiseFence(set, fenceOf(2, "writer-b"));
      // With fencing by block only what the newer writer has touched is guarded: let it touch all of them.
      if (store.capabilities.fencing === "block")
        await write(other, set, fenceOf(2, "writer-b"), NO_HASHES, sampleHashes(100, 400));
      await rejectsWith(write(store, set, fenceOf(1), sampleHashes(100, 200)), "stale_lease");
      await rejectsWith(write(store, set, fenceOf(1), NO_HASHES, sampleHashes(0, 100)), "stale_lease");
      await rejectsWith(write(store, set, fenceOf(2, "writer-c"), sampleHashes(100, 200)), "stale_lease");
      assert.deepEqual(await scanned(other, set), before);
    },
  },
  {
    name: "a block that a newer writer wrote refuses older ones and the same token of another holder",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(ONE_BLOCK, fenceOf(1));
      await write(store, set, fenceOf(1), sampleHashes(0, 10));
      await write(other, set, fenceOf(2, "writer-b"), sampleHashes(10, 12));
      const after = await scanned(store, set);
      await rejectsWith(write(store, set, fenceOf(1), sampleHashes(20, 30)), "stale_lease");
      await rejectsWith(write(store, set, fenceOf(1), NO_HASHES, sampleHashes(0, 5)), "stale_lease");
      await rejectsWith(write(store, set, fenceOf(2, "writer-a"), sampleHashes(20, 30)), "stale_lease");
      assert.deepEqual(await scanned(other, set), after);
      assert.equal(after.length, 12);
    },
  },
  {
    name: "a block that needs no change raises the fence too",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const noChange: readonly (readonly [number[], number[]])[] = [
        [[0], []],
        [[], [50]],
      ];
      for (const [adds, removes] of noChange) {
        const set = await store.allocateMemberSet(ONE_BLOCK, fenceOf(1));
        await write(store, set, fenceOf(1), sampleHashes(0, 3));
        const changes = await write(
          store,
          set,
          fenceOf(2, "writer-b"),
          packed(adds.map(sampleHash)),
          packed(removes.map(sampleHash)),
        );
        assert.deepEqual(changes, { added: 0, removed: 0 });
        await rejectsWith(write(store, set, fenceOf(1), sampleHashes(10, 11)), "stale_lease");
        assert.equal((await scanned(store, set)).length, 3);
      }
    },
  },
  {
    name: "removing from an empty block raises the fence too",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(ONE_BLOCK, fenceOf(1));
      assert.deepEqual(await write(store, set, fenceOf(2, "writer-b"), NO_HASHES, sampleHashes(0, 1)), {
        added: 0,
        removed: 0,
      });
      await rejectsWith(write(store, set, fenceOf(1), sampleHashes(0, 1)), "stale_lease");
      // The last member leaves: the block is empty again, and still guarded.
      await write(store, set, fenceOf(3), sampleHashes(0, 1));
      await write(store, set, fenceOf(3), NO_HASHES, sampleHashes(0, 1));
      await rejectsWith(write(store, set, fenceOf(2, "writer-b"), sampleHashes(0, 1)), "stale_lease");
      assert.deepEqual(await scanned(store, set), []);
    },
  },
  {
    name: "a refused write does not raise the fence",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(ONE_BLOCK, fenceOf(5));
      await rejectsWith(store.raiseFence(set, fenceOf(99, "writer-b", { generation: 2 })), "stale_lease");
      await rejectsWith(
        write(store, set, fenceOf(99, "writer-b", { generation: 2 }), sampleHashes(0, 1)),
        "stale_lease",
      );
      assert.deepEqual(await write(store, set, fenceOf(5), sampleHashes(0, 1)), { added: 1, removed: 0 });
    },
  },
  {
    name: "of racing takeovers the highest token ends as the fence",
    promise: "writer",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(ONE_BLOCK, fenceOf(1));
      const tokens = [4, 9, 2, 7, 9, 3, 8];
      const results = await Promise.allSettled(
        tokens.map((token, i) => (i % 2 ? other : store).raiseFence(set, fenceOf(token, `writer-${i}`))),
      );
      for (const result of results)
        if (result.status === "rejected") assert.ok(isRollcallError(result.reason, "stale_lease"));
      const [stored] = await store.listMemberSets();
      assert.equal(stored?.fence?.token, 9);
      // Two hold token 9: exactly one of them came through.
      const nines = results.filter((result, i) => tokens[i] === 9 && result.status === "fulfilled");
      assert.equal(nines.length, 1);
    },
  },
  {
    name: "a set that was never allocated has no fence and takes no writes",
    promise: "writer",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(3, fenceOf(1));
      const unknown = { id: (set.id + 1_000) as typeof set.id, shardBits: 3 };
      await rejectsWith(store.raiseFence(unknown, fenceOf(9)), "stale_lease");
      await rejectsWith(write(store, unknown, fenceOf(9), sampleHashes(0, 3)), "stale_lease");
      assert.deepEqual(await scanned(store, unknown), []);
      assert.deepEqual(
        (await store.listMemberSets()).map(({ id }) => id),
        [set.id],
      );
    },
  },
];
