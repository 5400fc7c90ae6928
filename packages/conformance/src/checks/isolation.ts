// Environments of one database do not see each other, whatever their names.

import assert from "node:assert/strict";
import type { Check } from "../check.js";
import { fenceOf, found, keyOf, sampleHashes, sampleReport, sampleSegment, scanned, write } from "../samples.js";

/** Names that a careless layout mixes up: prefixes, case, separators, names of its own parts. */
const NAMES = [
  "prod",
  "prod2",
  "Prod",
  "pro",
  "prod.",
  "prod-2",
  "prod_2",
  "prod.segments",
  "p".repeat(64),
  "__proto__",
];

export const isolationChecks: readonly Check[] = [
  {
    name: "environments of similar names share nothing",
    promise: "isolation",
    async run(t) {
      const key = keyOf("audience");
      const stores = await Promise.all(NAMES.map((name) => t.open(name)));
      const ids = new Set<string>();
      for (const [i, store] of stores.entries()) {
        const environment = await store.getEnvironment();
        ids.add(environment.id);
        assert.equal(await store.getSegment(key), undefined, `${NAMES[i]} is empty`);
        assert.deepEqual(await store.listMemberSets(), []);
        assert.deepEqual(await store.getHistory(key), []);
        const reports = [sampleReport("audience", i)];
        await store.putSegment(sampleSegment("audience", { updatedAt: i }), undefined, { reports });
        const set = await store.allocateMemberSet(3, fenceOf(1));
        await write(store, set, fenceOf(1), sampleHashes(i, i + 10));
      }
      assert.equal(ids.size, NAMES.length);
      for (const [i, store] of stores.entries()) {
        assert.equal((await store.getSegment(key))?.updatedAt, i);
        assert.equal((await store.listSegments()).length, 1);
        assert.deepEqual(await store.getHistory(key), [sampleReport("audience", i)]);
        const listed = await store.listMemberSets();
        assert.equal(listed.length, 1);
        for (const { id } of listed) {
          assert.equal((await scanned(store, { id, shardBits: 3 })).length, 10);
          const answers = await found(store, sampleHashes(i, i + 10), [{ id, shardBits: 3 }]);
          assert.deepEqual(answers, Array(10).fill([id]));
        }
      }
    },
  },
  {
    name: "dropping in one environment leaves a set of the same number in another",
    promise: "isolation",
    async run(t) {
      for (const [name, neighbour] of [
        ["prod", "prod2"],
        ["Prod", "prod"],
        ["prod.a", "prod"],
      ]) {
        const [store, other] = [await t.open(`${name}`), await t.open(`${neighbour}`)];
        const mine = await store.allocateMemberSet(2, fenceOf(1));
        const theirs = await other.allocateMemberSet(2, fenceOf(1));
        await write(store, mine, fenceOf(1), sampleHashes(0, 20));
        await write(other, theirs, fenceOf(1), sampleHashes(0, 20));
        // The numbers of the other environment are asked for here: they are none of this one's business.
        await store.dropMemberSets([mine, theirs]);
        assert.equal((await scanned(other, theirs)).length, 20);
        await other.raiseFence(theirs, fenceOf(2));
      }
    },
  },
  {
    name: "the epoch of one environment does not depend on another",
    promise: "isolation",
    async run(t) {
      const [store, other] = [await t.open("prod"), await t.open("prod2")];
      const epoch = await other.getEpoch();
      await store.putSegment(sampleSegment("audience"), undefined);
      assert.equal(await other.getEpoch(), epoch);
    },
  },
];
