// Writing blocks: exact counts, harmless repeats, odd shards, and calls that overlap.

import assert from "node:assert/strict";
import { hashCount, type MemberChanges, shardOf } from "@rollcall/core";
import type { Check } from "../check.js";
import {
  fenceOf,
  found,
  hashInShard,
  hexOf,
  NO_HASHES,
  packed,
  sampleHash,
  sampleHashes,
  scanned,
  write,
} from "../samples.js";

const fence = fenceOf(1);

export const blockChecks: readonly Check[] = [
  {
    name: "writeBlocks adds and removes exactly what it is told",
    promise: "member",
    async run(t) {
      const store = await t.open();
      for (const shardBits of [0, 1, 4, 9]) {
        const set = await store.allocateMemberSet(shardBits, fence);
        await write(store, set, fence, sampleHashes(0, 300));
        assert.deepEqual(await scanned(store, set), hexOf(sampleHashes(0, 300)));
        await write(store, set, fence, sampleHashes(300, 350), sampleHashes(0, 100));
        assert.deepEqual(await scanned(store, set), hexOf(sampleHashes(100, 350)));
        await write(store, set, fence, NO_HASHES, sampleHashes(0, 400));
        assert.deepEqual(await scanned(store, set), []);
      }
    },
  },
  {
    name: "added counts only members that were absent, removed only those that were present",
    promise: "counts",
    async run(t) {
      const store = await t.open();
      for (const shardBits of [0, 3, 8]) {
        const set = await store.allocateMemberSet(shardBits, fence);
        const steps: readonly [adds: [number, number], removes: [number, number], changes: MemberChanges][] = [
          [[0, 100], [0, 0], { added: 100, removed: 0 }],
          [[50, 150], [0, 0], { added: 50, removed: 0 }],
          [[150, 160], [140, 150], { added: 10, removed: 10 }],
          [[0, 0], [130, 150], { added: 0, removed: 10 }],
          [[130, 150], [500, 600], { added: 20, removed: 0 }],
          [[0, 1], [1, 2], { added: 0, removed: 1 }],
        ];
        for (const [adds, removes, changes] of steps)
          assert.deepEqual(await write(store, set, fence, sampleHashes(...adds), sampleHashes(...removes)), changes);
        assert.equal((await scanned(store, set)).length, 159);
      }
    },
  },
  {
    name: "repeating a write changes nothing and counts nothing",
    promise: "repeat",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(4, fence);
      await write(store, set, fence, sampleHashes(0, 60));
      const [adds, removes] = [sampleHashes(40, 120), sampleHashes(0, 20)];
      assert.deepEqual(await write(store, set, fence, adds, removes), { added: 60, removed: 20 });
      const members = await scanned(store, set);
      for (const handle of [store, other, store])
        assert.deepEqual(await write(handle, set, fence, adds, removes), { added: 0, removed: 0 });
      assert.deepEqual(await scanned(store, set), members);
    },
  },
  {
    name: "the first and the last shard, at 0 and at 24 bits",
    promise: "port",
    async run(t) {
      const store = await t.open();
      for (const shardBits of [0, 1, 8, 16, 24]) {
        const set = await store.allocateMemberSet(shardBits, fence);
        const last = 2 ** shardBits - 1;
        const shards = [...new Set([0, Math.floor(last / 2), Math.max(0, last - 1), last])];
        const lowest = new Uint8Array(16);
        const highest = new Uint8Array(16).fill(0xff);
        const hashes = packed([
          lowest,
          highest,
          ...shards.flatMap((shard) => [1, 2, 3].map((n) => hashInShard(shard, shardBits, n))),
        ]);
        for (let i = 0; i < hashCount(hashes); i++) assert.ok(shards.includes(shardOf(hashes, i, shardBits)));
        assert.deepEqual(await write(store, set, fence, hashes), { added: hashCount(hashes), removed: 0 });
        assert.deepEqual(await scanned(store, set), hexOf(hashes));
        assert.deepEqual(await found(store, hashes, [set]), Array(hashCount(hashes)).fill([set.id]));
        const ends = packed([lowest, highest]);
        assert.deepEqual(await write(store, set, fence, NO_HASHES, ends), { added: 0, removed: 2 });
        assert.deepEqual(await found(store, ends, [set]), [[], []]);
      }
    },
  },
  {
    name: "hashes that differ in one byte, at any place, are different members",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const base = Buffer.alloc(16, 0x55);
      const variants = Array.from({ length: 16 }, (_, place) => {
        const variant = Buffer.from(base);
        variant[place] = 0x80;
        return variant;
      });
      for (const shardBits of [0, 12, 24]) {
        const set = await store.allocateMemberSet(shardBits, fence);
        const written = packed(variants.slice(0, 8));
        await write(store, set, fence, written);
        assert.deepEqual(await found(store, packed(variants.slice(8)), [set]), Array(8).fill([]));
        assert.deepEqual(await found(store, base, [set]), [[]]);
        assert.deepEqual(await scanned(store, set), hexOf(written));
      }
    },
  },
  {
    name: "overlapping writes of several shards lose nothing and count exactly",
    promise: "member",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(4, fence);
      const parts = Array.from({ length: 10 }, (_, i) => sampleHashes(i * 40, i * 40 + 60));
      const changes = await Promise.all(parts.map((part, i) => write(i % 2 ? store : other, set, fence, part)));
      // Neighbouring parts share 20 members: whoever comes first counts them.
      assert.equal(
        changes.reduce((sum, { added }) => sum + added, 0),
        420,
      );
      assert.deepEqual(await scanned(store, set), hexOf(sampleHashes(0, 420)));
    },
  },
  {
    name: "overlapping writes of one block lose nothing",
    promise: "member",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(0, fence);
      await write(store, set, fence, sampleHashes(0, 20));
      await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          write(i % 2 ? store : other, set, fence, sampleHashes(100 + i, 101 + i), sampleHashes(i, i + 1)),
        ),
      );
      assert.deepEqual(await scanned(store, set), hexOf(sampleHashes(100, 120)));
    },
  },
  {
    name: "overlapping writes of many segments to the same contexts lose nothing",
    promise: "member",
    async run(t) {
      const handles = [await t.open(), await t.open()] as const;
      const hashes = sampleHashes(0, 30);
      const sets = await Promise.all(Array.from({ length: 12 }, () => handles[0].allocateMemberSet(2, fence)));
      await Promise.all(sets.map((set, i) => write(handles[i % 2 ? 1 : 0], set, fence, hashes)));
      const ids = sets.map(({ id }) => id).sort((a, b) => a - b);
      assert.deepEqual(await found(handles[0], hashes, sets), Array(30).fill(ids));
      const odd = sets.filter((_, i) => i % 2 === 1);
      await Promise.all(odd.map((set, i) => write(handles[i % 2 ? 1 : 0], set, fence, NO_HASHES, hashes)));
      const even = sets
        .filter((_, i) => i % 2 === 0)
        .map(({ id }) => id)
        .sort((a, b) => a - b);
      assert.deepEqual(await found(handles[1], hashes, sets), Array(30).fill(even));
    },
  },
  {
    name: "a reader sees each member of a write whole: never both gone and not yet there",
    promise: "member",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const set = await store.allocateMemberSet(3, fence);
      const stays = packed([sampleHash(0), sampleHash(1), sampleHash(2)]);
      await write(store, set, fence, stays);
      let writing = true;
      let looks = 0;
      async function keepWriting(): Promise<void> {
        for (let i = 0; i < 30; i++)
          await write(store, set, fence, sampleHashes(10 + i, 40 + i), sampleHashes(5, 10 + i));
        writing = false;
      }
      async function keepLooking(): Promise<void> {
        for (; writing || looks === 0; looks++) {
          assert.deepEqual(await found(other, stays, [set]), Array(3).fill([set.id]));
          await new Promise(setImmediate);
        }
      }
      await Promise.all([keepWriting(), keepLooking()]);
      assert.ok(looks > 0);
      assert.equal((await scanned(other, set)).length, 33);
    },
  },
  {
    name: "a full window is written in one call",
    promise: "port",
    async run(t) {
      const store = await t.open();
      const { maxMembers, maxBlocks } = store.capabilities.window;
      const members = Math.min(maxMembers, 100_000);
      const set = await store.allocateMemberSet(store.chooseShardBits({ members, contexts: members }), fence);
      const hashes = sampleHashes(0, members);
      // The shards that fit into one window; with few bits they are all of them.
      const shards = new Set(Array.from({ length: hashCount(hashes) }, (_, i) => shardOf(hashes, i, set.shardBits)));
      const kept = [...shards].slice(0, maxBlocks);
      const last = kept.at(-1) as number;
      let count = hashCount(hashes);
      while (shardOf(hashes, count - 1, set.shardBits) > last) count--;
      const part = hashes.subarray(0, count * 16);
      assert.deepEqual(await write(store, set, fence, part), { added: count, removed: 0 });
      assert.equal((await scanned(store, set)).length, count);
      assert.deepEqual(await write(store, set, fence, NO_HASHES, part), { added: 0, removed: count });
    },
  },
];
