// What is left when members leave, sets are swept and segments are deleted, and how much of a history is kept.

import { randomUUID } from "node:crypto";
import { createRollcall, type Revision, type Segment, type SegmentKey } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { blocksOf, hashes, hex, membersOf, packed, unpacked } from "./hashes.test-setup.js";
import { adminClient, keysOf, recordKeys } from "./keyspace.test-setup.js";
import { busyLife, fence, shardsAmong, storeOpener } from "./layout.test-setup.js";
import { NOTHING, SEGMENT } from "./place.test-setup.js";

const openStore = storeOpener();
const admin = adminClient();

describe("shards", () => {
  it("vanish when they are empty, and clear their bit when they are swept", async () => {
    const { store, prefix } = await openStore();
    const shardBits = 4;
    const { used } = recordKeys(prefix).runs(1, shardBits)[0]!;
    const sets = [
      await store.allocateMemberSet(shardBits, fence),
      await store.allocateMemberSet(shardBits, fence),
    ] as const;
    const blocks = blocksOf(hashes(200), shardBits);
    for (const set of sets) await store.writeBlocks(set, blocks, fence);
    expect([shardsAmong(await keysOf(admin, prefix)).length, await admin.bitcount(used)]).toEqual([16, 16]);
    const leaving = blocks.slice(0, 6).map(({ shard, adds }) => ({ shard, adds: NOTHING, removes: adds }));
    for (const set of sets) await store.writeBlocks(set, leaving, fence);
    // The bit says that the shard has had a member: it is only a hint where to look.
    expect([shardsAmong(await keysOf(admin, prefix)).length, await admin.bitcount(used)]).toEqual([10, 16]);
    await store.dropMemberSets([sets[0]]);
    expect([shardsAmong(await keysOf(admin, prefix)).length, await admin.bitcount(used)]).toEqual([10, 10]);
    await store.dropMemberSets([sets[1]]);
    expect([shardsAmong(await keysOf(admin, prefix)).length, await admin.bitcount(used)]).toEqual([0, 0]);
    // And a shard that comes back is found again.
    const again = await store.allocateMemberSet(shardBits, fence);
    await store.writeBlocks(again, blocks.slice(3, 5), fence);
    expect(await membersOf(store, again)).toEqual(blocks.slice(3, 5).flatMap(({ adds }) => unpacked(adds).map(hex)));
  });

  it("keep the members of other sets when a bitmap is lost", async () => {
    const { store, prefix } = await openStore();
    const shardBits = 4;
    const { used } = recordKeys(prefix).runs(1, shardBits)[0]!;
    const [before, after] = [
      await store.allocateMemberSet(shardBits, fence),
      await store.allocateMemberSet(shardBits, fence),
    ];
    const all = hashes(200);
    await store.writeBlocks(before, blocksOf(all, shardBits), fence);
    await store.writeBlocks(after, blocksOf(all.slice(0, 100), shardBits), fence);
    await admin.del(used);
    const changes = blocksOf(all.slice(100), shardBits).map(({ shard, adds }) => {
      const [removes] = blocksOf(all.slice(0, 100), shardBits).filter((block) => block.shard === shard);
      return { shard, adds, removes: removes?.adds ?? NOTHING };
    });
    expect(await store.writeBlocks(after, changes, fence)).toEqual({ added: 100, removed: 100 });
    const found = await store.findMemberSets(packed(all), [before, after]);
    expect(found.map((sets) => sets.includes(before.id))).toEqual(all.map(() => true));
    expect(found.filter((sets) => sets.includes(after.id))).toHaveLength(100);
    // And scans find every shard again that something was added to.
    expect((await membersOf(store, before)).length).toBe(200);
  });
});

describe("the keyspace", () => {
  it("holds nothing of members when all segments are deleted and swept", async () => {
    const { store, prefix } = await openStore({ slots: 4 });
    const rollcall = createRollcall(store, { graceMs: 0, expectedContexts: 5_000 });
    await busyLife(rollcall);
    await rollcall.deleteSegment("a");
    await rollcall.deleteSegment("b");
    await rollcall.sweep();
    const { registry, segments, sets, history } = recordKeys(prefix);
    const records = [registry, segments, history("a" as SegmentKey), history("b" as SegmentKey)];
    const left = await keysOf(admin, prefix);
    expect(left).toEqual(expect.arrayContaining(records));
    // Beside them there may be the list of sets, in which none is, and bitmaps, in which no bit is set: nothing of fences or shards.
    const isBitmap = (key: string) => key.endsWith(":used");
    expect(left.filter((key) => ![...records, sets].includes(key) && !isBitmap(key))).toEqual([]);
    expect(await store.listMemberSets()).toEqual([]);
    for (const bitmap of left.filter(isBitmap)) expect(await admin.bitcount(bitmap)).toBe(0);
    expect((await admin.hkeys(registry)).toSorted()).toEqual(["environment", "epoch", "lastSet", "layout"]);
    expect((await admin.hkeys(segments)).toSorted()).toEqual(["a", "b"]);
  });

  it("keeps the last hundred reports of a segment", async () => {
    const { store, prefix } = await openStore();
    const report = await createRollcall(store).merge("people", { add: ["ada"] });
    for (let number = 0; number < 105; number++) {
      const segment = (await store.getSegment(SEGMENT)) as Segment;
      const next = { ...segment, revision: randomUUID() as Revision };
      await store.putSegment(next, segment.revision, { reports: [{ ...report, received: number }] });
    }
    expect(await admin.llen(recordKeys(prefix).history(SEGMENT))).toBe(100);
    expect((await store.getHistory(SEGMENT)).map(({ received }) => received)).toEqual(
      Array.from({ length: 100 }, (_, age) => 104 - age),
    );
  });
});
