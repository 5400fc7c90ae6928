// The registry: records by compare-and-swap, and the epoch that says that one has changed.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { isRollcallError, type MemberSetId, type Segment, type Timeline } from "@rollcall/core";
import { type Check, rejectsWith } from "../check.js";
import { keyOf, sampleSegment } from "../samples.js";

/** A record with everything in it that a database might change on the way. */
function exoticSegment(): Segment {
  const awkward = "\u0000 é é \u{1f600} \ud800 \" \\ \n __proto__ '; --";
  return sampleSegment("exotic", {
    generation: 3,
    details: {
      name: { value: awkward, origin: "manual" },
      description: { value: "", origin: "sync" },
      tags: { value: [awkward, "constructor", "toString"], origin: "sync" },
    },
    lease: { token: 2 ** 40, holder: "holder", expiresAt: 1_900_000_000_000 },
    included: { set: { id: 0xffff_ffff as never, shardBits: 24 }, count: { value: 30_000_000, exact: false } },
    staged: [{ id: 1 as never, shardBits: 0 }],
    retired: Array.from({ length: 20 }, (_, i) => ({ set: { id: (i + 2) as never, shardBits: i }, at: i })),
    positions: Array.from({ length: 100 }, (_, i) => ({ source: `source-${i}`, position: "p".repeat(100) })),
    recentSyncs: Array.from({ length: 50 }, (_, i) => ({ token: i, holder: awkward })),
    recentSyncIds: Array.from({ length: 50 }, (_, i) => `${i}${awkward}`),
    lastSyncedAt: 1_700_000_000_001,
  });
}

/** A list whose members are in the set of number `id`. */
function pointingAt(id: number): Segment["included"] {
  return { set: { id: id as MemberSetId, shardBits: 0 }, count: { value: id, exact: true } };
}

export const registryChecks: readonly Check[] = [
  {
    name: "a segment record comes back as it was written, and an unknown one as undefined",
    promise: "port",
    async run(t) {
      const store = await t.open();
      assert.equal(await store.getSegment(keyOf("exotic")), undefined);
      const written = exoticSegment();
      await store.putSegment(structuredClone(written), undefined);
      assert.deepEqual(await store.getSegment(written.key), written);
      const next = { ...written, revision: sampleSegment("x").revision, details: {} };
      await store.putSegment(next, written.revision);
      assert.deepEqual(await store.getSegment(written.key), next);
      assert.deepEqual(await store.listSegments(), [next]);
    },
  },
  {
    name: "segment keys are exact: case, length and names of object fields",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const names = ["a", "A", "a.b", "a-b", "a_b", ".", "..", "__proto__", "constructor", "0", "00"];
      names.push("k".repeat(255), "k".repeat(256));
      for (const name of names) assert.equal(await store.getSegment(keyOf(name)), undefined, name);
      const records = names.map((name) => sampleSegment(name));
      for (const record of records) await store.putSegment(record, undefined);
      for (const record of records) assert.deepEqual(await store.getSegment(record.key), record);
      const listed = await store.listSegments();
      assert.deepEqual(listed.map(({ key }) => key).sort(), [...names].sort());
    },
  },
  {
    name: "putSegment refuses a stale, a missing and a surplus revision, and changes nothing",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const first = sampleSegment("audience");
      await rejectsWith(store.putSegment(first, sampleSegment("x").revision), "revision_conflict");
      assert.equal(await store.getSegment(first.key), undefined);
      await store.putSegment(first, undefined);
      await rejectsWith(store.putSegment(sampleSegment("audience"), undefined), "revision_conflict");
      const second = sampleSegment("audience", { updatedAt: 2 });
      await store.putSegment(second, first.revision);
      await rejectsWith(store.putSegment(sampleSegment("audience"), first.revision), "revision_conflict");
      await rejectsWith(
        store.putSegment(sampleSegment("audience"), "never-a-revision-0" as never),
        "revision_conflict",
      );
      assert.deepEqual(await store.getSegment(first.key), second);
    },
  },
  {
    name: "a store that names its timeline writes in no other",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const first = sampleSegment("audience");
      const timeline = await store.putSegment(first, undefined);
      // Core hands in what it was told, and here nobody tells.
      if (timeline === undefined) return;
      const second = sampleSegment("audience", { updatedAt: 2 });
      assert.equal(await other.putSegment(second, first.revision, { timeline }), timeline);
      const epoch = await store.getEpoch();
      const elsewhere = `${timeline}0` as Timeline;
      for (const [key, revision] of [
        ["audience", second.revision],
        ["audience", first.revision],
        ["unknown", undefined],
      ] as const) {
        const refused = store.putSegment(sampleSegment(key), revision, { timeline: elsewhere });
        await rejectsWith(refused, "stale_lease");
      }
      assert.deepEqual(await store.listSegments(), [second]);
      assert.equal(await store.getEpoch(), epoch);
      assert.equal(await store.putSegment(sampleSegment("unknown"), undefined, { timeline }), timeline);
      await rejectsWith(store.putSegment(sampleSegment("unknown"), undefined, { timeline }), "revision_conflict");
    },
  },
  {
    name: "of racing putSegments exactly one wins, also when creating",
    promise: "port",
    async run(t) {
      const handles = await Promise.all([t.open(), t.open(), t.open()]);
      let revision: Segment["revision"] | undefined;
      for (let round = 0; round < 10; round++) {
        const attempts = handles.flatMap((handle) => [
          { handle, next: sampleSegment("audience") },
          { handle, next: sampleSegment("audience") },
        ]);
        const results = await Promise.allSettled(attempts.map(({ handle, next }) => handle.putSegment(next, revision)));
        const winners = attempts.filter((_, i) => results[i]?.status === "fulfilled");
        assert.equal(winners.length, 1);
        for (const result of results)
          if (result.status === "rejected") assert.ok(isRollcallError(result.reason, "revision_conflict"));
        revision = winners[0]?.next.revision;
        assert.equal((await handles[0]?.getSegment(keyOf("audience")))?.revision, revision);
      }
    },
  },
  {
    name: "putEnvironment is a compare-and-swap too",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const first = await store.getEnvironment();
      const second = { ...first, revision: randomUUID(), expectedContexts: 5, initialized: true };
      await store.putEnvironment(second, first.revision);
      await rejectsWith(
        other.putEnvironment({ ...first, revision: randomUUID() }, first.revision),
        "revision_conflict",
      );
      assert.deepEqual(await other.getEnvironment(), second);
      const attempts = [store, other, store, other].map((handle) => ({
        handle,
        next: { ...second, revision: randomUUID(), positions: [{ source: "s", position: randomUUID() }] },
      }));
      const results = await Promise.allSettled(
        attempts.map(({ handle, next }) => handle.putEnvironment(next, second.revision)),
      );
      const winners = attempts.filter((_, i) => results[i]?.status === "fulfilled");
      assert.equal(winners.length, 1);
      assert.deepEqual(await store.getEnvironment(), winners[0]?.next);
    },
  },
  {
    name: "a segment record is seen whole by those who read while it is put",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const key = keyOf("audience");
      const written = new Map<string | undefined, Segment>();
      let isDone = false;
      async function write(): Promise<void> {
        let before: Segment["revision"] | undefined;
        for (let i = 0; i < 100; i++) {
          const lists = { included: pointingAt(2 * i + 1), excluded: pointingAt(2 * i + 2) };
          const next = sampleSegment("audience", { updatedAt: i, ...lists });
          written.set(next.revision, next);
          await store.putSegment(next, before);
          before = next.revision;
        }
      }
      async function watch(): Promise<void> {
        while (!isDone) {
          const epoch = await other.getEpoch();
          const seen = await other.getSegment(key);
          await new Promise(setImmediate);
          const [listed] = await other.listSegments();
          for (const record of [seen, listed]) assert.deepEqual(record, written.get(record?.revision));
          if (epoch === (await other.getEpoch()))
            assert.equal(listed?.revision, seen?.revision, "the record changed, and the epoch did not");
        }
      }
      const writing = write().finally(() => {
        isDone = true;
      });
      await Promise.all([writing, watch()]);
    },
  },
  {
    name: "the epoch moves with every putSegment, for every handle, and never returns",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const epochs = [await other.getEpoch()];
      assert.equal(await store.getEpoch(), epochs[0]);
      const revisions = new Map<string, Segment["revision"]>();
      for (let i = 0; i < 12; i++) {
        const next = sampleSegment(`segment-${i % 3}`);
        await (i % 2 === 0 ? store : other).putSegment(next, revisions.get(next.key));
        revisions.set(next.key, next.revision);
        epochs.push(await store.getEpoch());
        assert.equal(await other.getEpoch(), epochs.at(-1));
      }
      assert.equal(new Set(epochs).size, epochs.length);
    },
  },
  {
    name: "racing putSegments of different segments all move the epoch",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      for (let round = 0; round < 5; round++) {
        const before = await store.getEpoch();
        await Promise.all([
          store.putSegment(sampleSegment(`left-${round}`), undefined),
          other.putSegment(sampleSegment(`right-${round}`), undefined),
        ]);
        const after = await store.getEpoch();
        assert.notEqual(after, before);
        assert.equal(await other.getEpoch(), after);
      }
      assert.equal((await store.listSegments()).length, 10);
    },
  },
  {
    name: "a tombstone stays, and is listed",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const live = sampleSegment("audience");
      await store.putSegment(live, undefined);
      const tombstone = sampleSegment("audience", { state: "deleted", lease: { token: 9, expiresAt: 0 } });
      await store.putSegment(tombstone, live.revision);
      assert.deepEqual(await store.getSegment(live.key), tombstone);
      assert.deepEqual(await store.listSegments(), [tombstone]);
    },
  },
  {
    name: "listSegments shows hundreds of records, each as newly written",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const records = Array.from({ length: 250 }, (_, i) =>
        sampleSegment(`segment-${i}`, { details: { description: { value: "d".repeat(4_000), origin: "sync" } } }),
      );
      for (let i = 0; i < records.length; i += 25)
        await Promise.all(records.slice(i, i + 25).map((record) => store.putSegment(record, undefined)));
      const changed = sampleSegment("segment-7", { updatedAt: 99 });
      await store.putSegment(changed, records[7]?.revision);
      const expected = new Map(records.map((record) => [record.key, record.revision]));
      expected.set(changed.key, changed.revision);
      const listed = await other.listSegments();
      assert.equal(listed.length, records.length);
      assert.deepEqual(new Map(listed.map((segment) => [segment.key, segment.revision])), expected);
    },
  },
];
