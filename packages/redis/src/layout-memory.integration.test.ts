// What a context costs: it stays in the compact form that Redis has for small hashes, whatever sets it is in.

import { type ContextHashes, contextHash, createRollcall, type MemberSet, type SegmentStore } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { bufferOf } from "./block-group.js";
import { hex, membersOf, packed, unpacked } from "./hashes.test-setup.js";
import { adminClient, keysOf, recordKeys } from "./keyspace.test-setup.js";
import { COMPACT, fence, shardsAmong, storeOpener } from "./layout.test-setup.js";
import { NOTHING } from "./place.test-setup.js";

const openStore = storeOpener();
const admin = adminClient();

const SHARD_BITS = 8;

/** As many contexts as the same number of bits is ever chosen for. */
function mostContexts({ chooseShardBits }: SegmentStore): number {
  let contexts = 2 ** SHARD_BITS;
  while (chooseShardBits({ members: contexts + 1, contexts: contexts + 1 }) <= SHARD_BITS) contexts++;
  return contexts;
}

describe("shards", () => {
  it("stay compact where three times as many contexts come as were expected", async () => {
    const { store, prefix } = await openStore();
    const contexts = mostContexts(store);
    const rollcall = createRollcall(store, { expectedContexts: contexts });
    for (let third = 0; third < 3; third++)
      await rollcall.replace(`third-${third}`, {
        included: Array.from({ length: contexts }, (_, number) => `person-${third}-${number}`),
      });
    const shards = shardsAmong(await keysOf(admin, prefix));
    expect(shards).toHaveLength(2 ** SHARD_BITS);
    for (const key of shards) expect(COMPACT).toContain(await admin.object("ENCODING", key));
  });

  it("stay compact at the sizes that are chosen, in many sets too", async () => {
    const { store, prefix } = await openStore();
    const contexts = mostContexts(store);
    const rollcall = createRollcall(store, { expectedContexts: contexts });
    const everybody = Array.from({ length: contexts }, (_, number) => `person-${number}`);
    for (let segment = 0; segment < 4; segment++)
      await rollcall.replace(`segment-${segment}`, {
        included: everybody.filter((_, number) => number % (segment + 1) === 0),
      });
    const shards = shardsAmong(await keysOf(admin, prefix));
    expect(shards).toHaveLength(2 ** SHARD_BITS);
    for (const key of shards) expect(COMPACT).toContain(await admin.object("ENCODING", key));
    const sizes = await Promise.all(shards.map((key) => admin.hlen(key)));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(contexts);
  });

  // A single change and several of one shard take different ways through the script.
  it.each([
    ["one context", ["busy"]],
    ["several contexts of one shard", ["busy", "lively", "restless"]],
  ])("give %s in very many sets to the overflow, and take them back when sets are left", async (_, names) => {
    const { store, prefix } = await openStore();
    const { shard, overflow } = recordKeys(prefix).shardKeys(1, 0, 0);
    const [calm, ...busy] = ["calm", ...names].map((name) => contextHash(name)) as [ContextHashes, ...ContextHashes[]];
    const sets: MemberSet[] = [];
    const enter = async () => {
      const set = await store.allocateMemberSet(0, fence);
      sets.push(set);
      expect(await store.writeBlocks(set, [{ shard: 0, adds: packed(busy), removes: NOTHING }], fence)).toEqual({
        added: busy.length,
        removed: 0,
      });
    };
    const expectWhole = async () => {
      const found = await store.findMemberSets(packed(busy), [...sets]);
      const all = sets.map(({ id }) => id).toSorted(byNumber);
      expect(found.map((ids) => ids.toSorted(byNumber))).toEqual(busy.map(() => all));
      for (const set of sets) {
        const members = set === sets[0] ? [calm, ...busy] : busy;
        expect(await membersOf(store, set)).toEqual(members.map(hex).toSorted());
      }
      expect(COMPACT).toContain(await admin.object("ENCODING", shard));
    };
    const bytes = async (key: string) => {
      const lengths = await Promise.all(
        busy.map(async (hash) => (await admin.hgetBuffer(key, bufferOf(hash)))?.length),
      );
      expect(new Set(lengths).size).toBe(1);
      return lengths[0];
    };

    await enter();
    await store.writeBlocks(sets[0]!, [{ shard: 0, adds: calm, removes: NOTHING }], fence);
    // The ids of the first 127 sets take one byte each.
    while (sets.length < 64) await enter();
    expect([await bytes(shard), await admin.exists(overflow)]).toEqual([64, 0]);
    await expectWhole();
    await enter();
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 65]);
    await expectWhole();
    while (sets.length < 70) await enter();
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 70]);
    await expectWhole();
    // What is there already is not added again.
    expect(await store.writeBlocks(sets[69]!, [{ shard: 0, adds: packed(busy), removes: NOTHING }], fence)).toEqual({
      added: 0,
      removed: 0,
    });

    // Out of it by leaving, into it again, and out of it by a sweep.
    for (const set of sets.splice(64)) {
      const left = await store.writeBlocks(set, [{ shard: 0, adds: NOTHING, removes: packed(busy) }], fence);
      expect(left).toEqual({ added: 0, removed: busy.length });
    }
    expect([await bytes(shard), await admin.exists(overflow)]).toEqual([64, 0]);
    await expectWhole();
    while (sets.length < 66) await enter();
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 66]);
    await store.dropMemberSets(sets.splice(65));
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 65]);
    await expectWhole();
    await store.dropMemberSets(sets.splice(60));
    expect([await bytes(shard), await admin.exists(overflow)]).toEqual([60, 0]);
    await expectWhole();
    await store.dropMemberSets(sets);
    expect(await admin.exists(shard, overflow)).toBe(0);
  });

  it("do not take one id for the end of another", async () => {
    const { store, prefix } = await openStore();
    // Packed, each of them ends as another one: 01, 80 01, 81 01, 80 81 01, 81 81 01; and the last one there is.
    const sets: MemberSet[] = [];
    for (const id of [1, 128, 129, 16_512, 16_513, 2 ** 32 - 1]) {
      // Ids are handed out by a counter. It is moved on here, instead of allocating so many.
      await admin.hset(recordKeys(prefix).registry, "lastSet", id - 1);
      sets.push(await store.allocateMemberSet(0, fence));
    }
    expect(sets.map(({ id }) => id)).toEqual([1, 128, 129, 16_512, 16_513, 2 ** 32 - 1]);
    // One context for each choice of sets, half of them in the opposite order of entering.
    const contexts = Array.from(
      { length: 2 ** sets.length },
      (_, choice) => contextHash(`choice-${choice}`) as ContextHashes,
    );
    const expected = new Map(sets.map(({ id }) => [id, new Set<string>()]));
    const change = async (set: MemberSet, kind: "adds" | "removes", choices: (choice: number) => boolean) => {
      const chosen = contexts.filter((_, choice) => choices(choice));
      const block = { shard: 0, adds: NOTHING, removes: NOTHING, [kind]: packed(chosen) };
      await store.writeBlocks(set, [block], fence);
      for (const hash of chosen) {
        if (kind === "adds") expected.get(set.id)?.add(hex(hash));
        else expected.get(set.id)?.delete(hex(hash));
      }
    };
    const expectAll = async () => {
      const found = await store.findMemberSets(packed(contexts), sets);
      unpacked(packed(contexts)).forEach((hash, index) => {
        const own = sets.filter(({ id }) => expected.get(id)?.has(hex(hash))).map(({ id }) => id);
        expect(found[index]?.toSorted(byNumber)).toEqual(own);
      });
      for (const set of sets) expect(await membersOf(store, set)).toEqual([...expected.get(set.id)!].toSorted());
    };
    const chooses = (bit: number) => (choice: number) => (choice & (1 << bit)) !== 0;
    for (const [bit, set] of sets.entries())
      await change(set, "adds", (choice) => choice % 3 > 0 && chooses(bit)(choice));
    for (const [bit, set] of [...sets.entries()].reverse())
      await change(set, "adds", (choice) => choice % 3 === 0 && chooses(bit)(choice));
    await expectAll();
    for (const bit of [0, 2, 4]) await change(sets[bit]!, "removes", (choice) => choice % 2 === 1 || choice % 5 === 0);
    await expectAll();
    for (const dropped of [0, 1, 1]) {
      await store.dropMemberSets(sets.splice(dropped, 1));
      await expectAll();
    }
  });
});

function byNumber(a: number, b: number): number {
  return a - b;
}
