// A scan of a shard that is too large for one step, and what happens to the shard between two steps: it moves to another node of a
// Cluster, or its server starts anew. A cursor of the first process would mean nothing to the second.

import { randomUUID } from "node:crypto";
import {
  type RedisCluster,
  type RedisServer,
  startRedisCluster,
  startRedisServer,
  until,
} from "@rollcall/conformance/containers";
import type { ContextHashes, Fence, MemberSet, SegmentKey, SegmentStore } from "@rollcall/core";
import keySlot from "cluster-key-slot";
import { Cluster } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hashes, hex, membersOf, packed } from "./hashes.test-setup.js";
import { recordKeys } from "./keyspace.test-setup.js";
import { NOTHING } from "./place.test-setup.js";
import { storeMaker } from "./stores.test-setup.js";

const timeout = 120_000;
const storeAt = storeMaker();
const fence: Fence = { segmentKey: "people" as SegmentKey, generation: 1, holder: "writer", token: 1 };

describe("a server that starts anew", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedisServer({ args: ["--appendonly", "yes", "--appendfsync", "always"] });
  }, timeout);
  afterAll(() => server.stop());

  it("between two steps costs no member", { timeout }, async () => {
    const store = storeAt(`redis://${server.host}:${server.port}`);
    await store.open();
    await expectWholeScans(store, async () => {
      await server.kill();
      await server.start();
      await until("it answers", () => store.getEpoch());
    });
  });
});

describe("a slot of a Cluster that moves", () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  }, timeout);
  afterAll(() => cluster.stop());

  it("between two steps costs no member", { timeout }, async () => {
    const prefix = randomUUID();
    const client = new Cluster([...cluster.nodes], { natMap: cluster.natMap, retryDelayOnFailover: 0 });
    const store = storeAt(client, { prefix });
    await store.open();
    const slot = keySlot(recordKeys(prefix).runs(256, 0)[0]!.used);
    await expectWholeScans(store, async () => {
      await cluster.moveSlot(slot, ((await cluster.masterOf(slot)) + 1) % 3);
    });
  });
});

/** Asserts that scans of sets in one large shard answer every member once, whatever `event` does to the shard after the first step. */
async function expectWholeScans(store: SegmentStore, event: () => Promise<void>): Promise<void> {
  const everybody = hashes(3_000);
  const small = everybody.slice(0, 100);
  const sets = [await setOf(store, small), await setOf(store, everybody)] as const;
  for (let from = small.length; from < everybody.length; from += 100)
    await setOf(store, everybody.slice(from, from + 100));
  for (const [set, members] of [
    [sets[0], small],
    [sets[1], everybody],
  ] as const) {
    let steps = 0;
    const found = await membersOf(store, set, async () => {
      if (steps++ === 0) await event();
    });
    expect(steps).toBeGreaterThan(1);
    expect(found).toEqual(members.map(hex).toSorted());
  }
}

/** A set of these members, in the only shard of its size. */
async function setOf(store: SegmentStore, members: readonly ContextHashes[]): Promise<MemberSet> {
  const set = await store.allocateMemberSet(0, fence);
  await store.writeBlocks(set, [{ shard: 0, adds: packed(members), removes: NOTHING }], fence);
  return set;
}
