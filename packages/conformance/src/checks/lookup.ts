// Looking contexts up: every answer exact, and only about the sets that were asked for.

import assert from "node:assert/strict";
import { CONTEXT_HASH_BYTES, concatHashes, hashCount, type MemberSet } from "@rollcall/core";
import type { Check } from "../check.js";
import { fenceOf, found, NO_HASHES, sampleHash, sampleHashes, write } from "../samples.js";

const fence = fenceOf(1);

export const lookupChecks: readonly Check[] = [
  {
    name: "findMemberSets answers hash by hash, in the order asked, repeats too",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const [a, b] = [await store.allocateMemberSet(3, fence), await store.allocateMemberSet(3, fence)];
      await write(store, a, fence, sampleHashes(0, 10));
      await write(store, b, fence, sampleHashes(5, 15));
      const asked = [14, 0, 7, 7, 99, 0, 12, 3].map(sampleHash);
      assert.deepEqual(await found(store, concatHashes(asked), [a, b]), [
        [b.id],
        [a.id],
        [a.id, b.id],
        [a.id, b.id],
        [],
        [a.id],
        [b.id],
        [a.id],
      ]);
    },
  },
  {
    name: "findMemberSets of no hashes, and among no sets",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(3, fence);
      await write(store, set, fence, sampleHashes(0, 5));
      assert.deepEqual(await store.findMemberSets(NO_HASHES, [set]), []);
      assert.deepEqual(await store.findMemberSets(sampleHashes(0, 5), []), [[], [], [], [], []]);
      assert.deepEqual(await store.findMemberSets(NO_HASHES, []), []);
    },
  },
  {
    name: "sets that were not asked for do not show",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const sets: MemberSet[] = [];
      for (let i = 0; i < 6; i++) {
        const set = await store.allocateMemberSet(2, fence);
        await write(store, set, fence, sampleHashes(0, 8));
        sets.push(set);
      }
      const among = sets.filter((_, i) => i % 3 === 1);
      const ids = among.map(({ id }) => id).sort((x, y) => x - y);
      assert.deepEqual(await found(store, sampleHashes(0, 8), among), Array(8).fill(ids));
      assert.deepEqual(await found(store, sampleHashes(0, 8), sets.slice(0, 1)), Array(8).fill([sets[0]?.id]));
    },
  },
  {
    name: "sets that are empty, dropped or unknown hold nothing",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const [full, empty, dropped] = [
        await store.allocateMemberSet(2, fence),
        await store.allocateMemberSet(2, fence),
        await store.allocateMemberSet(2, fence),
      ];
      await write(store, full, fence, sampleHashes(0, 8));
      await write(store, dropped, fence, sampleHashes(0, 8));
      await store.dropMemberSets([dropped]);
      const unknown: MemberSet = { id: (dropped.id + 500) as MemberSet["id"], shardBits: 2 };
      const answers = await found(store, sampleHashes(0, 8), [unknown, empty, full, dropped]);
      assert.deepEqual(answers, Array(8).fill([full.id]));
    },
  },
  {
    name: "sets of different shardBits are asked about together",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const sets: MemberSet[] = [];
      for (const shardBits of [0, 1, 5, 11, 24]) {
        const set = await store.allocateMemberSet(shardBits, fence);
        // Set i holds members i, i+1, …: member n is in the sets 0 to n.
        await write(store, set, fence, sampleHashes(sets.length, 20));
        sets.push(set);
      }
      const asked = concatHashes(Array.from({ length: 20 }, (_, n) => sampleHash(n)));
      const expected = Array.from({ length: 20 }, (_, n) =>
        sets
          .filter((_, i) => i <= n)
          .map(({ id }) => id)
          .sort((x, y) => x - y),
      );
      assert.deepEqual(await found(store, asked, sets), expected);
      assert.deepEqual(await found(store, asked, sets.toReversed()), expected);
    },
  },
  {
    name: "one context in seventy sets, of which some go again",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const sets = await Promise.all(Array.from({ length: 70 }, () => store.allocateMemberSet(1, fence)));
      const hashes = sampleHashes(0, 3);
      for (const set of sets) await write(store, set, fence, hashes);
      const idsOf = (some: readonly MemberSet[]) => some.map(({ id }) => id).sort((x, y) => x - y);
      assert.deepEqual(await found(store, hashes, sets), Array(3).fill(idsOf(sets)));
      assert.deepEqual(await found(store, hashes, sets.slice(68)), Array(3).fill(idsOf(sets.slice(68))));
      for (const set of sets.filter((_, i) => i % 7 === 0))
        assert.deepEqual(await write(store, set, fence, NO_HASHES, hashes), { added: 0, removed: 3 });
      await store.dropMemberSets(sets.filter((_, i) => i % 7 === 3));
      const left = sets.filter((_, i) => i % 7 !== 0 && i % 7 !== 3);
      assert.deepEqual(await found(store, hashes, sets), Array(3).fill(idsOf(left)));
      const [refilled] = sets;
      if (refilled !== undefined)
        assert.deepEqual(await write(store, refilled, fence, hashes), { added: 3, removed: 0 });
      assert.deepEqual(await found(store, hashes, sets), Array(3).fill(idsOf([...left, ...sets.slice(0, 1)])));
    },
  },
  {
    name: "a lookup of as many hashes as declared",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const count = Math.min(store.capabilities.maxLookup, 5_000);
      const sets = [await store.allocateMemberSet(6, fence), await store.allocateMemberSet(2, fence)];
      const [wide, narrow] = sets as [MemberSet, MemberSet];
      await write(store, wide, fence, sampleHashes(0, 600));
      await write(store, narrow, fence, sampleHashes(300, 700));
      const hashes = Array.from({ length: count }, (_, n) => sampleHash(n));
      const answers = await found(store, concatHashes(hashes), sets);
      assert.equal(answers.length, count);
      answers.forEach((ids, n) => {
        const expected = [...(n < 600 ? [wide.id] : []), ...(n >= 300 && n < 700 ? [narrow.id] : [])];
        assert.deepEqual(
          ids,
          expected.sort((x, y) => x - y),
        );
      });
    },
  },
  {
    name: "hashes may be views into a larger buffer, and are not changed",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(3, fence);
      const whole = sampleHashes(0, 40);
      const copy = whole.slice();
      const view = whole.subarray(10 * CONTEXT_HASH_BYTES, 30 * CONTEXT_HASH_BYTES);
      await write(store, set, fence, view);
      const answers = await found(store, whole, [set]);
      answers.forEach((ids, i) => {
        assert.deepEqual(ids, i >= 10 && i < 30 ? [set.id] : []);
      });
      assert.deepEqual(whole, copy);
      // The caller may use its buffer again as soon as the call is done.
      whole.fill(0);
      assert.deepEqual(await found(store, copy, [set]), answers);
      assert.equal(hashCount(copy), 40);
    },
  },
];
