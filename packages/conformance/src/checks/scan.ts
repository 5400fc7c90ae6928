// Scans and the list of stored sets: what `verify`, growth and copies stand on.

import assert from "node:assert/strict";
import { CONTEXT_HASH_BYTES, hashAt, hashCount, type StoredMemberSet } from "@rollcall/core";
import type { Check } from "../check.js";
import { fenceOf, hexOf, sampleHashes, scanned, write } from "../samples.js";

const fence = fenceOf(1);

export const scanChecks: readonly Check[] = [
  {
    name: "scanMembers yields every member exactly once, and none of another set",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      for (const shardBits of [0, 3, 10, 24]) {
        const size = shardBits === 0 ? 100 : 700;
        const [set, neighbour] = [
          await store.allocateMemberSet(shardBits, fence),
          await store.allocateMemberSet(shardBits, fence),
        ];
        await write(store, set, fence, sampleHashes(0, size));
        await write(store, neighbour, fence, sampleHashes(50, size + 50));
        assert.deepEqual(await scanned(other, set), hexOf(sampleHashes(0, size)));
        assert.deepEqual(await scanned(other, neighbour), hexOf(sampleHashes(50, size + 50)));
      }
    },
  },
  {
    name: "scanMembers of an empty or dropped set yields no member",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(4, fence);
      assert.deepEqual(await scanned(store, set), []);
      await write(store, set, fence, sampleHashes(0, 50));
      await store.dropMemberSets([set]);
      assert.deepEqual(await scanned(store, set), []);
    },
  },
  {
    name: "a scan holds nothing: the set can be written and the scan left halfway",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(5, fence);
      await write(store, set, fence, sampleHashes(0, 400));
      const seen: string[] = [];
      let round = 0;
      for await (const chunk of store.scanMembers(set)) {
        assert.equal(chunk.byteLength % CONTEXT_HASH_BYTES, 0);
        seen.push(...hexOf(chunk));
        await write(other, set, fence, sampleHashes(1_000 + round, 1_002 + round), sampleHashes(0, 1));
        round++;
      }
      assert.equal(new Set(seen).size, seen.length, "no member twice");
      // Member 0 was removed during the scan, those from 1,000 on were added: they may be seen or not.
      for (const member of hexOf(sampleHashes(1, 400))) assert.ok(seen.includes(member));
      for await (const _ of store.scanMembers(set)) break;
      await store.dropMemberSets([set]);
      assert.deepEqual(await scanned(store, set), []);
    },
  },
  {
    name: "what a scan handed out stays as it was",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const set = await store.allocateMemberSet(0, fence);
      await write(store, set, fence, sampleHashes(0, 20));
      const chunks = [];
      for await (const chunk of store.scanMembers(set)) chunks.push(chunk);
      const before = chunks.flatMap(hexOf).sort();
      await write(store, set, fence, sampleHashes(20, 40), sampleHashes(0, 10));
      assert.deepEqual(chunks.flatMap(hexOf).sort(), before);
      for (const chunk of chunks) for (let i = 0; i < hashCount(chunk); i++) hashAt(chunk, i).fill(0);
      assert.deepEqual(await scanned(store, set), hexOf(sampleHashes(10, 40)));
    },
  },
  {
    name: "listMemberSets lists each stored set once, with its shardBits and its fence",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const expected = new Map<number, StoredMemberSet>();
      for (let i = 0; i < 30; i++) {
        const own = fenceOf(i, `writer-${i}`);
        const set = await store.allocateMemberSet(i % 6, own);
        if (i % 2) await write(store, set, own, sampleHashes(0, 20));
        if (i % 5 === 0) await store.dropMemberSets([set]);
        else expected.set(set.id, { ...set, fence: own });
      }
      const listed = await other.listMemberSets();
      assert.equal(listed.length, expected.size);
      assert.deepEqual(new Map(listed.map((stored) => [stored.id as number, stored])), expected);
    },
  },
];
