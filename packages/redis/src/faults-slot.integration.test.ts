// A slot of a Cluster that is half way to another node, by which of its keys have left already. A call either is refused as one to
// repeat, or has taken effect; and no member is lost when the slot has arrived.

import { randomUUID } from "node:crypto";
import { type RedisCluster, type SlotMove, startRedisCluster, until } from "@rollcall/conformance/containers";
import { createRollcall, type Fence, isRollcallError, type SegmentKey, type SegmentStore } from "@rollcall/core";
import keySlot from "cluster-key-slot";
import { Cluster } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hashes, hex, membersOf, packed } from "./hashes.test-setup.js";
import { recordKeys } from "./keyspace.test-setup.js";
import { NOTHING } from "./place.test-setup.js";
import { storeMaker } from "./stores.test-setup.js";

const timeout = 120_000;
const SEGMENT = "people" as SegmentKey;
const fence: Fence = { segmentKey: SEGMENT, generation: 1, holder: "writer", token: 1 };
const people = Array.from({ length: 60 }, (_, number) => `person-${number}`);
const [first, last] = [packed(hashes(60).slice(0, 10)), packed(hashes(60).slice(50))];
const storeAt = storeMaker();

let cluster: RedisCluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
}, timeout);
afterAll(() => cluster.stop());

describe("the slot of a run", () => {
  it.each([
    ["nothing has left", []],
    ["its fences and bitmap have left", ["fences", "used"]],
    ["a shard has left", ["shard"]],
    ["the shard and its fences have left", ["shard", "fences"]],
    ["everything has left", ["shard", "fences", "used"]],
  ] as const)("may be on its way when %s", { timeout }, async (_, moved) => {
    const { store, prefix } = await openStore();
    const set = await store.allocateMemberSet(0, fence);
    const before = packed(hashes(50));
    await store.writeBlocks(set, [{ shard: 0, adds: before, removes: NOTHING }], fence);
    const { run, shard } = recordKeys(prefix).shardKeys(256, 0, 0);
    const keys = { fences: run.fences, used: run.used, shard };
    await halfWay(
      keySlot(shard),
      moved.map((name) => keys[name]),
      async () => {
        const found = await store.findMemberSets(before, [set]);
        expect(found.filter((ids) => ids.length === 1)).toHaveLength(50);
        await expectDoneOrRefused(() => store.writeBlocks(set, [{ shard: 0, adds: last, removes: first }], fence));
      },
    );
    await until("the slot has arrived", () =>
      store.writeBlocks(set, [{ shard: 0, adds: last, removes: first }], fence),
    );
    expect(await membersOf(store, set)).toEqual(hashes(60).slice(10).map(hex).toSorted());
    const found = await store.findMemberSets(packed(hashes(60)), [set]);
    expect(found.filter((ids) => ids.length === 1)).toHaveLength(50);
  });
});

describe("the slot of the registry", () => {
  it.each([
    ["nothing has left", []],
    ["the registry has left", ["registry"]],
    ["the segments have left", ["segments"]],
    ["the sets have left", ["sets"]],
    ["the history has left", ["history"]],
    ["everything but the registry has left", ["segments", "sets", "history"]],
  ] as const)("may be on its way when %s", { timeout }, async (_, moved) => {
    const { store, prefix } = await openStore();
    const rollcall = createRollcall(store, {
      leaseTtlMs: 500,
      retry: { retries: 1, minDelayMs: 20 },
      onWarning: () => {},
    });
    // The only segment, so that its record is all that its key holds.
    await rollcall.replace(SEGMENT, { included: people.slice(0, 50) });
    const { registry, segments, sets, history } = recordKeys(prefix);
    const keys = { registry, segments, sets, history: history(SEGMENT) };
    await halfWay(
      keySlot(keys.registry),
      moved.map((name) => keys[name]),
      () => expectDoneOrRefused(() => rollcall.merge(SEGMENT, { add: people.slice(50), remove: people.slice(0, 10) })),
    );
    await until("the slot has arrived", () => store.getEpoch());
    const report = await rollcall.merge(SEGMENT, { add: people.slice(50), remove: people.slice(0, 10) });
    expect(report.members.included).toEqual({ value: 50, exact: true });
    expect((await rollcall.getHistory(SEGMENT))[0]).toMatchObject({ members: report.members, removed: report.removed });
    const set = (await rollcall.getSegment(SEGMENT))?.included.set;
    expect(set === undefined ? [] : await membersOf(store, set)).toEqual(hashes(60).slice(10).map(hex).toSorted());
    await rollcall.sweep();
    expect((await rollcall.verify()).findings).toEqual([]);
    await rollcall.close();
  });
});

async function openStore(): Promise<{ readonly store: SegmentStore; readonly prefix: string }> {
  const prefix = randomUUID();
  const client = new Cluster([...cluster.nodes], { natMap: cluster.natMap, retryDelayOnFailover: 0 });
  const store = storeAt(client, { prefix, timeoutMs: 5_000 });
  await store.open();
  return { store, prefix };
}

/** Does `work` while `keys` of the slot are at another node, and brings the others there. */
async function halfWay(slot: number, keys: readonly string[], work: () => Promise<void>): Promise<void> {
  const move: SlotMove = await cluster.beginMove(slot, ((await cluster.masterOf(slot)) + 1) % 3);
  try {
    if (keys.length > 0) await move.migrate(keys);
    await work();
  } finally {
    while ((await move.migrateKeys()) > 0);
    await move.end();
  }
}

async function expectDoneOrRefused(call: () => Promise<unknown>): Promise<void> {
  try {
    await call();
  } catch (error) {
    expect(isRollcallError(error) && error.retryable, String(error)).toBe(true);
  }
}
