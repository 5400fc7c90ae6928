// Scattered writes go through records of recent changes, which are folded into the shard records later. The port does not
// say so, hence its suite cannot aim at the moments when a member moves; this test does, against plain sets.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Block,
  type ContextHashes,
  hashAt,
  hashCount,
  type MemberSet,
  parseName,
  type SegmentKey,
  type SegmentStore,
  segmentKeySchema,
  shardOf,
} from "@rollcall/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createLmdbStore } from "./index.js";

// A file system in memory where there is one: durability is not what is tested here.
const place = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const segmentKey = parseName(segmentKeySchema, "scattered", "the segment") as SegmentKey;
const fence = { segmentKey, generation: 1, holder: "writer", token: 1 };
/** Four groups of 64 shards each; a group is folded at 128 to 191 contexts. */
const SHARD_BITS = 8;
const CONTEXTS = 1_500;

const contexts = Array.from({ length: CONTEXTS }, (_, n) => {
  const hash = new Uint8Array(16);
  // Spread over the shards, two to a shard that differ in the last byte only.
  new DataView(hash.buffer).setUint32(0, Math.imul(n >>> 1, 0x9e3779b1));
  hash[15] = n & 1;
  return hash;
}).toSorted((a, b) => Buffer.compare(a, b));

const step = fc.oneof(
  // Scattered, dense in few shards, and few enough to be written directly.
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      set: fc.nat(2),
      from: fc.nat(CONTEXTS - 1),
      stride: fc.constantFrom(1, 1, 7, 13, 61),
      count: fc.constantFrom(1, 5, 40, 150, 150, 700),
      removeEvery: fc.constantFrom(1, 2, 3, 1_000_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), set: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
);

it("scattered, dense and single changes end as in plain sets", { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
      const folder = await mkdtemp(join(place, "rollcall-lmdb-"));
      let store = createLmdbStore(folder);
      try {
        await store.open();
        const sets: { set: MemberSet; members: Set<number> }[] = [];
        for (let k = 0; k < 3; k++)
          sets.push({ set: await store.allocateMemberSet(SHARD_BITS, fence), members: new Set() });
        for (const change of steps) {
          if (change.kind === "reopen") {
            await store.close();
            store = createLmdbStore(folder);
            await store.open();
            continue;
          }
          const entry = sets[change.set]!;
          if (change.kind === "drop") {
            await store.dropMemberSets([entry.set]);
            sets[change.set] = { set: await store.allocateMemberSet(SHARD_BITS, fence), members: new Set() };
          } else {
            const chosen = Array.from({ length: change.count }, (_, k) => (change.from + k * change.stride) % CONTEXTS);
            const removed = new Set(chosen.filter((_, k) => k % change.removeEvery === change.removeEvery - 1));
            const added = new Set(chosen.filter((n) => !removed.has(n)));
            const expected = {
              added: [...added].filter((n) => !entry.members.has(n)).length,
              removed: [...removed].filter((n) => entry.members.has(n)).length,
            };
            const changes = await store.writeBlocks(entry.set, blocksOf(added, removed), fence);
            expect(changes).toEqual(expected);
            for (const n of added) entry.members.add(n);
            for (const n of removed) entry.members.delete(n);
          }
          await expectMembers(store, sets);
        }
        await store.dropMemberSets(sets.map(({ set }) => set));
        expect(await store.listMemberSets()).toEqual([]);
      } finally {
        await store.close();
        await rm(folder, { recursive: true });
      }
    }),
    { numRuns: 40 },
  );
});

async function expectMembers(store: SegmentStore, sets: readonly { set: MemberSet; members: Set<number> }[]) {
  const among = sets.map(({ set }) => set);
  const found = await store.findMemberSets(Uint8Array.from(Buffer.concat(contexts)), among);
  const expected = contexts.map((_, n) =>
    sets
      .filter(({ members }) => members.has(n))
      .map(({ set }) => set.id)
      .sort(),
  );
  expect(found.map((ids) => ids.sort())).toEqual(expected);
  for (const { set, members } of sets) {
    const scanned: string[] = [];
    for await (const chunk of store.scanMembers(set))
      for (let index = 0; index < hashCount(chunk); index++) scanned.push(hex(hashAt(chunk, index)));
    expect(scanned.toSorted()).toEqual([...members].map((n) => hex(contexts[n]!)).toSorted());
  }
}

function blocksOf(added: ReadonlySet<number>, removed: ReadonlySet<number>): Block[] {
  const shards = new Map<number, { adds: Uint8Array[]; removes: Uint8Array[] }>();
  // The contexts are sorted, so each block's are.
  for (const [n, hash] of contexts.entries()) {
    if (!added.has(n) && !removed.has(n)) continue;
    const shard = shardOf(hash, 0, SHARD_BITS);
    const block = shards.get(shard) ?? { adds: [], removes: [] };
    (added.has(n) ? block.adds : block.removes).push(hash);
    shards.set(shard, block);
  }
  const join = (hashes: Uint8Array[]): ContextHashes => Uint8Array.from(Buffer.concat(hashes));
  // Core promises no order of the shards.
  return Array.from(shards, ([shard, { adds, removes }]) => ({
    shard,
    adds: join(adds),
    removes: join(removes),
  })).reverse();
}

function hex(hash: Uint8Array): string {
  return Buffer.from(hash).toString("hex");
}
