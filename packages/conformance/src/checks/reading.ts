// The reader over the store: whole snapshots, few round trips, honest statuses.

import assert from "node:assert/strict";
import { AUDIENCE, membersAmong, people, SMALL_STEPS } from "../audience.js";
import { type Check, rejectsWith } from "../check.js";

const user = (key: string) => ({ kind: "user", key });

export const readingChecks: readonly Check[] = [
  {
    name: "a reader sees the old members or the new ones, never a mixture",
    promise: "snapshot",
    async run(t) {
      const store = await t.open(undefined, SMALL_STEPS);
      const rollcall = await t.rollcall(store);
      const universe = people(0, 60);
      const states = [people(0, 30), people(15, 45), people(30, 60), people(0, 60)];
      await rollcall.replace(AUDIENCE, { included: people(0, 30) });
      // One with answers that last, one that asks anew each time.
      const warm = await t.reader(undefined, { pollMs: 100, cacheTtlMs: 3_600_000 });
      const cold = await t.reader(undefined, { pollMs: 100, cacheSize: 0 });
      const reached = new Map([
        [warm, 0],
        [cold, 0],
      ]);
      store.beforeCall = async () => {
        await t.clock.advance(60);
        for (const [reader, least] of reached) {
          const members = (await membersAmong(reader, AUDIENCE, universe)).join();
          const seen = states.findIndex((state, i) => i >= least && state.join() === members);
          assert.ok(seen >= 0, "neither old nor new, or older than seen before");
          reached.set(reader, seen);
        }
      };
      for (const state of states.slice(1)) await rollcall.replace(AUDIENCE, { included: state });
      store.beforeCall = undefined;
      await t.clock.advance(1_000);
      for (const reader of reached.keys()) {
        await reader.isMember(AUDIENCE, user("person-0"));
        await t.clock.advance(200);
        assert.deepEqual(await membersAmong(reader, AUDIENCE, universe), states.at(-1));
      }
    },
  },
  {
    name: "both lists of a snapshot flip at once",
    promise: "snapshot",
    async run(t) {
      const store = await t.open(undefined, SMALL_STEPS);
      const rollcall = await t.rollcall(store);
      const universe = people(0, 20);
      const states = [
        { included: people(0, 10), excluded: people(10, 20) },
        { included: people(10, 20), excluded: people(0, 10) },
      ];
      await rollcall.replace(AUDIENCE, states[0] ?? {});
      const reader = await t.reader(undefined, { pollMs: 50, cacheTtlMs: 3_600_000 });
      const look = async () => {
        await t.clock.advance(60);
        const answers = await Promise.all(universe.map((key) => reader.isMember(AUDIENCE, user(key))));
        return answers.map(({ decision }) => decision.slice(0, 2)).join();
      };
      const expected = states.map(({ included }) =>
        universe.map((key) => (included.includes(key) ? "in" : "ex")).join(),
      );
      const seen: string[] = [];
      store.beforeCall = async () => {
        seen.push(await look());
      };
      await rollcall.replace(AUDIENCE, states[1] ?? {}, { allowShrink: true });
      store.beforeCall = undefined;
      await look();
      seen.push(await look());
      for (const answers of seen) assert.ok(expected.includes(answers));
      assert.equal(seen[0], expected[0]);
      assert.equal(seen.at(-1), expected[1]);
    },
  },
  {
    name: "membership answers all segments of the kind from one snapshot",
    promise: "kind",
    async run(t) {
      const rollcall = await t.rollcall();
      await rollcall.merge("one", { add: people(0, 5) });
      await rollcall.merge("two", { add: people(3, 8) });
      await rollcall.merge("three", { add: people(0, 4) });
      await rollcall.merge("three", { add: people(3, 5) }, { list: "excluded" });
      await rollcall.merge("devices", { add: people(0, 8) }, { contextKind: "device" });
      const reader = await t.reader();
      const { segments, status } = await reader.membership(user("person-4"));
      assert.deepEqual(
        new Map([...segments].sort()),
        new Map([
          ["one", true],
          ["three", false],
          ["two", true],
        ]),
      );
      assert.equal(status, "healthy");
      assert.deepEqual([...(await reader.membership(user("person-99"))).segments], []);
      assert.deepEqual(
        [...(await reader.membership({ kind: "device", key: "person-4" })).segments],
        [["devices", true]],
      );
    },
  },
  {
    name: "lookups of one tick share a round trip, and warm answers need none",
    promise: "port",
    async run(t) {
      const rollcall = await t.rollcall();
      for (const segment of ["one", "two", "three"]) await rollcall.merge(segment, { add: people(0, 50) });
      const store = await t.open();
      const reader = await t.reader(store);
      const keys = people(0, 100);
      await membersAmong(reader, "one", keys);
      const lookups = store.calls.filter((method) => method === "findMemberSets").length;
      assert.ok(lookups <= Math.ceil(100 / store.capabilities.maxLookup), `${lookups} round trips for one tick`);
      const calls = store.calls.length;
      for (const segment of ["one", "two", "three"])
        assert.deepEqual(await membersAmong(reader, segment, keys), people(0, 50));
      assert.equal(store.calls.length, calls);
    },
  },
  {
    name: "a merge shows after the answer's time to live, a snapshot as soon as the registry is read",
    promise: "snapshot",
    async run(t) {
      const rollcall = await t.rollcall();
      await rollcall.replace(AUDIENCE, { included: people(0, 10) });
      const reader = await t.reader(undefined, { pollMs: 1_000, cacheTtlMs: 5_000 });
      const look = () => membersAmong(reader, AUDIENCE, people(0, 40));
      assert.deepEqual(await look(), people(0, 10));
      await rollcall.merge(AUDIENCE, { add: people(10, 20) });
      await t.clock.advance(6_000);
      await look();
      await t.clock.advance(1_500);
      assert.deepEqual(await look(), people(0, 20));
      await rollcall.replace(AUDIENCE, { included: people(0, 40) });
      await look();
      await t.clock.advance(1_500);
      await look();
      await t.clock.advance(1);
      assert.deepEqual(await look(), people(0, 40));
    },
  },
  {
    name: "each answer says how far it can be trusted",
    promise: "port",
    async run(t) {
      const rollcall = await t.rollcall();
      const store = await t.open();
      const reader = await t.reader(store, { freshnessMs: 3_600_000, pollMs: 1_000, maxRegistryAgeMs: 30_000 });
      const status = async (segment: string, key = "person-0") => (await reader.isMember(segment, user(key))).status;
      assert.equal(await status(AUDIENCE), "unknown_segment");
      await rollcall.merge(AUDIENCE, { add: people(0, 5) });
      await reader.refresh();
      assert.equal(await status(AUDIENCE), "healthy");
      await t.clock.advance(3_600_001);
      await reader.refresh();
      assert.equal(await status(AUDIENCE), "stale");
      const dyingStore = await t.open();
      dyingStore.plan({ kind: "crash", at: 1, method: "writeBlocks" });
      await rejectsWith((await t.rollcall(dyingStore)).merge("fresh", { add: people(0, 5) }), "store_unavailable");
      await reader.refresh();
      assert.equal(await status("fresh"), "never_synced");
      store.plan({ kind: "crash", at: 1 });
      assert.equal(await status(AUDIENCE, "person-99"), "store_error");
      await t.clock.advance(31_000);
      // Known once: the last known answer, marked.
      assert.deepEqual(await reader.isMember(AUDIENCE, user("person-0")), {
        member: true,
        decision: "included",
        status: "store_error",
      });
      assert.equal((await reader.membership(user("person-0"))).status, "store_error");
      reader.close();
      assert.equal(await status(AUDIENCE), "not_configured");
      const strictStore = await t.open();
      const strict = await t.reader(strictStore, { onError: "throw" });
      await strict.isMember(AUDIENCE, user("person-0"));
      strictStore.plan({ kind: "refuse", at: 1, method: "findMemberSets" });
      await rejectsWith(strict.isMember(AUDIENCE, user("person-77")), "store_unavailable");
      assert.equal((await strict.isMember(AUDIENCE, user("person-1"))).member, true);
    },
  },
];
