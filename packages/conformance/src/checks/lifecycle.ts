// Opening, closing, declared capabilities, and what a second handle sees.

import assert from "node:assert/strict";
import { LAYOUT_VERSION, MAX_SHARD_BITS, type SegmentStore, STORE_PORT_VERSION } from "@rollcall/core";
import { type Check, rejectsWith } from "../check.js";
import { fenceOf, found, keyOf, sampleHashes, sampleReport, sampleSegment, scanned, write } from "../samples.js";

/** A watch of a handle, if it offers one. */
async function watched(store: SegmentStore): Promise<void> {
  await store.watchEpoch?.(() => {}, new AbortController().signal);
}

export const lifecycleChecks: readonly Check[] = [
  {
    name: "open creates an environment record, and is idempotent",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const first = await store.getEnvironment();
      assert.equal(first.layout, LAYOUT_VERSION);
      assert.ok(first.id.length >= 16);
      assert.equal(first.initialized, false);
      await store.open();
      assert.deepEqual(await store.getEnvironment(), first);
      const second = await t.open();
      assert.deepEqual(await second.getEnvironment(), first);
      assert.deepEqual(await store.listSegments(), []);
      assert.deepEqual(await store.listMemberSets(), []);
    },
  },
  {
    name: "racing opens agree on one environment",
    promise: "port",
    async run(t) {
      const handles = await Promise.all([t.open(), t.open(), t.open(), t.open()]);
      const environments = await Promise.all(handles.map((handle) => handle.getEnvironment()));
      for (const environment of environments) assert.deepEqual(environment, environments[0]);
    },
  },
  {
    name: "the handle names its environment and declares sane capabilities",
    promise: "port",
    async run(t) {
      const store = await t.open("Some.Environment_1-x");
      assert.equal(store.environment, "Some.Environment_1-x");
      const { portVersion, fencing, window, maxLookup } = store.capabilities;
      assert.equal(portVersion, STORE_PORT_VERSION);
      assert.ok(fencing === "set" || fencing === "block");
      for (const limit of [window.maxMembers, window.maxBlocks, window.concurrency, maxLookup])
        assert.ok(Number.isSafeInteger(limit) && limit >= 1);
    },
  },
  {
    name: "chooseShardBits is pure, bounded and monotonic in both sizes",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const sizes = [0, 1, 2, 10, 64, 65, 1_000, 50_000, 1_000_000, 30_000_000, 5_000_000_000];
      for (const members of sizes) {
        let previous = 0;
        for (const contexts of sizes) {
          const bits = store.chooseShardBits({ members, contexts });
          assert.ok(Number.isInteger(bits) && bits >= 0 && bits <= MAX_SHARD_BITS);
          assert.equal(other.chooseShardBits({ members, contexts }), bits);
          assert.ok(bits >= previous, "grows with the contexts");
          previous = bits;
        }
      }
      for (const contexts of sizes) {
        const bits = sizes.map((members) => store.chooseShardBits({ members, contexts }));
        assert.deepEqual(
          bits,
          [...bits].sort((a, b) => a - b),
        );
      }
    },
  },
  {
    name: "a closed handle refuses every call with `closed`, closes twice, and disturbs no other",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(4, fenceOf(1));
      const environment = await store.getEnvironment();
      await store.close();
      await store.close();
      const calls: readonly (() => Promise<unknown>)[] = [
        () => store.getEnvironment(),
        () => store.putEnvironment(environment, environment.revision),
        () => store.getSegment(keyOf("audience")),
        () => store.listSegments(),
        () => store.putSegment(sampleSegment("audience"), undefined),
        () => store.getEpoch(),
        ...(store.watchEpoch === undefined ? [] : [() => watched(store)]),
        () => store.getHistory(keyOf("audience")),
        () => store.allocateMemberSet(4, fenceOf(1)),
        () => store.raiseFence(set, fenceOf(1)),
        () => write(store, set, fenceOf(1), sampleHashes(0, 1)),
        () => store.findMemberSets(sampleHashes(0, 1), [set]),
        () => scanned(store, set),
        () => store.dropMemberSets([set]),
        () => store.listMemberSets(),
      ];
      for (const call of calls) await rejectsWith(call, "closed");
      assert.equal(await other.getSegment(keyOf("audience")), undefined);
      assert.deepEqual(await write(other, set, fenceOf(1), sampleHashes(0, 3)), { added: 3, removed: 0 });
    },
  },
  {
    name: "a second handle sees every acknowledged write at once",
    promise: "durable",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const key = keyOf("audience");
      for (let round = 1; round <= 5; round++) {
        const before = await other.getSegment(key);
        const next = sampleSegment("audience", { updatedAt: round });
        await store.putSegment(next, before?.revision, { reports: [sampleReport("audience", round)] });
        assert.deepEqual(await other.getSegment(key), next);
        assert.deepEqual(await other.listSegments(), [next]);
        assert.equal((await other.getHistory(key)).length, round);
        const set = await store.allocateMemberSet(round, fenceOf(1));
        assert.ok((await other.listMemberSets()).some(({ id }) => id === set.id));
        await write(store, set, fenceOf(1), sampleHashes(0, 10));
        const all = await found(other, sampleHashes(0, 10), [set]);
        assert.deepEqual(all, Array(10).fill([set.id]));
        await write(store, set, fenceOf(1), sampleHashes(10, 11), sampleHashes(0, 5));
        assert.equal((await scanned(other, set)).length, 6);
        const environment = await other.getEnvironment();
        const changed = { ...environment, revision: next.revision, expectedContexts: round };
        await store.putEnvironment(changed, environment.revision);
        assert.deepEqual(await other.getEnvironment(), changed);
        await store.dropMemberSets([set]);
        assert.deepEqual(await other.listMemberSets(), []);
      }
    },
  },
  {
    name: "everything acknowledged is there after all handles were closed",
    promise: "durable",
    async run(t) {
      const store = await t.open();
      const key = keyOf("audience");
      const segment = sampleSegment("audience", { details: { name: { value: "Buyers", origin: "manual" } } });
      await store.putSegment(segment, undefined, { reports: [sampleReport("audience", 7)] });
      const dropped = await store.allocateMemberSet(3, fenceOf(1));
      await store.dropMemberSets([dropped]);
      const set = await store.allocateMemberSet(6, fenceOf(2));
      await write(store, set, fenceOf(2), sampleHashes(0, 500), sampleHashes(500, 600));
      const environment = await store.getEnvironment();
      const epoch = await store.getEpoch();
      const members = await scanned(store, set);
      await store.close();

      const again = await t.open();
      assert.deepEqual(await again.getSegment(key), segment);
      assert.deepEqual(await again.getHistory(key), [sampleReport("audience", 7)]);
      assert.deepEqual(await again.getEnvironment(), environment);
      assert.equal(await again.getEpoch(), epoch);
      assert.deepEqual(await scanned(again, set), members);
      assert.deepEqual(await again.listMemberSets(), [{ ...set, fence: fenceOf(2) }]);
      await rejectsWith(again.raiseFence(set, fenceOf(1)), "stale_lease");
      await rejectsWith(again.raiseFence(dropped, fenceOf(9)), "stale_lease");
      const next = await again.allocateMemberSet(3, fenceOf(1));
      assert.ok(next.id !== dropped.id && next.id !== set.id);
    },
  },
];
