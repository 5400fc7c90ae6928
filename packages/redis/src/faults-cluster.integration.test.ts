// A Cluster that changes in the middle of a sync: a primary dies and its replica takes over, slots move to other nodes, a node comes
// back with nothing. Every write is confirmed by the replicas.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  type NatMap,
  type RedisCluster,
  type SlotMove,
  startRedisCluster,
  until,
} from "@rollcall/conformance/containers";
import { type EnvironmentName, environmentNameSchema, parseName, type SegmentStore } from "@rollcall/core";
import keySlot from "cluster-key-slot";
import { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MODES, type Mode } from "./fault-audience.test-setup.js";
import { forgetSwallowed, type ProxiedServers, proxyServers, swallowReplies } from "./fault-line.test-setup.js";
import { watchSegment } from "./fault-reader.test-setup.js";
import {
  expectApplied,
  expectAppliedInTheEnd,
  expectRefused,
  expectState,
  openInSmallSteps,
  quickRollcall,
  snapshotInstead,
  startTrial,
  sync,
} from "./fault-trial.test-setup.js";
import { createRedisStore } from "./index.js";
import { createRecordKeys } from "./record-key.js";

const timeout = 120_000;
const SLOTS = 256;
const environment = parseName(environmentNameSchema, "default", "the environment") as EnvironmentName;

let cluster: RedisCluster;
let servers: ProxiedServers;
/** One client for each node, to look at the Cluster from there. */
let nodes: Redis[];
beforeAll(async () => {
  cluster = await startRedisCluster({ replicas: 1 });
  servers = await proxyServers(cluster.natMap);
  nodes = cluster.nodes.map((address) => new Redis({ ...address, maxRetriesPerRequest: 0 }).on("error", () => {}));
}, timeout);
afterAll(async () => {
  for (const node of nodes) node.disconnect();
  await servers[Symbol.asyncDispose]();
  await cluster.stop();
});

describe.each(MODES)("during a %s", (mode) => {
  it("the primary of the registry and of members may die", { timeout }, async () => {
    await using line = await startLine(mode);
    const { primary } = line.registry;
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      servers.proxies.forEach(swallowReplies);
      await cluster.kill(primary);
      await until("its replica takes over", () => isPrimary(replicaOf(primary)));
      await Promise.all(servers.proxies.map(forgetSwallowed));
      await cluster.start(primary);
    });
    expect(line.store.failures.length).toBeGreaterThan(0);
    await line.expectEnd(outcome);
  });

  it("slots of the registry and of members may be half way to another node, and arrive", { timeout }, async () => {
    await using line = await startLine(mode);
    const { registry, members, third } = line;
    const counts = () => Promise.all([redirections(registry.primary), redirections(members.primary)]);
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      for (const proxy of servers.proxies) proxy.freeze();
      const moves = [await cluster.beginMove(registry.slot, third), await cluster.beginMove(members.slot, third)];
      try {
        // All but one of the keys, so that no script finds all of its own.
        for (const move of moves) expect(await move.migrateKeys((await keysIn(move)) - 1)).toBeGreaterThan(0);
        const before = await counts();
        await Promise.all(servers.proxies.map((proxy) => proxy.resume()));
        await until("calls have met both slots on their way", async () =>
          (await counts()).every((count, index) => count > (before[index] ?? 0)),
        );
      } finally {
        for (const move of moves) {
          while ((await move.migrateKeys()) > 0);
          await move.end();
        }
      }
    });
    await line.expectEnd(outcome);
  });

  it("a slot of members may have moved", { timeout }, async () => {
    await using line = await startLine(mode);
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      for (const proxy of servers.proxies) proxy.freeze();
      await cluster.moveSlot(line.members.slot, line.third);
      await Promise.all(servers.proxies.map((proxy) => proxy.resume()));
    });
    await line.expectEnd(outcome);
  });

  it("a primary of members may come back with nothing, and be filled again", { timeout }, async () => {
    await using line = await startLine(mode);
    const { calm, store, trial, reader } = line;
    const outcome = await sync(quickRollcall(store), trial, () => loseEverythingOf(line.members.primary));
    expectRefused(outcome, "store_unavailable", "stale_lease", "corrupt_data");
    await reader.stop();
    await until("all nodes answer", async () => (await calm.listMemberSets()).length > 0);
    const rollcall = quickRollcall(calm);
    await rollcall.verify({ repair: true });
    const snapshot = snapshotInstead(trial);
    expectApplied(await sync(rollcall, snapshot));
    await expectState(calm, snapshot.segmentKey, snapshot.after);
  });
});

describe("a reader", () => {
  it("does not take a primary that came back with nothing for one without members", { timeout }, async () => {
    await using line = await startLine("replace");
    const { store, members, reader } = line;
    await loseEverythingOf(members.primary);
    await until("all nodes answer", async () => (await store.listMemberSets()).length > 0);
    await reader.look();
    reader.expectNothingWrong();
  });
});

describe("a client", () => {
  it("that knows replicas too, and is still connecting, may be handed over", { timeout }, async () => {
    const client = newClient(cluster.natMap);
    const store = createRedisStore(client, { prefix: randomUUID() });
    await store.open();
    expect((await store.getEnvironment()).initialized).toBe(false);
    client.disconnect();
  });
});

/** Has a primary die that keeps nothing on disk, and come back; calls on their way to it are done, and nobody hears of it. */
async function loseEverythingOf(primary: number): Promise<void> {
  servers.proxies.forEach(swallowReplies);
  // First, so that it cannot take over with what it has.
  await cluster.kill(replicaOf(primary));
  await cluster.kill(primary);
  await cluster.start(primary);
  await cluster.start(replicaOf(primary));
  await Promise.all(servers.proxies.map(forgetSwallowed));
}

/** The node that follows `node`, or that it follows. */
function replicaOf(node: number): number {
  return (node + 3) % 6;
}

async function isPrimary(node: number): Promise<boolean> {
  const role = (await nodes[node]?.call("role")) as unknown[] | undefined;
  return role?.[0] === "master";
}

/** The node that serves `slot`, as node number 1 sees it. */
async function primaryOf(slot: number): Promise<number> {
  const ranges = (await nodes[1]?.cluster("SLOTS")) ?? [];
  const range = ranges.find(([from, to]) => from <= slot && slot <= to);
  return cluster.nodes.findIndex((_, node) => range?.[2]?.[1] === 7_000 + node);
}

async function keysIn({ from, slot }: SlotMove): Promise<number> {
  return Number(await nodes[from]?.cluster("COUNTKEYSINSLOT", slot));
}

/** How often a node has sent clients on, or asked them to try again. */
async function redirections(node: number): Promise<number> {
  const stats = (await nodes[node]?.info("errorstats")) ?? "";
  const counts = stats.matchAll(/^errorstat_(?:ASK|TRYAGAIN):count=(\d+)/gm);
  return Array.from(counts, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0);
}

/** A segment, and a store and a reader that reach it through proxies. */
async function startLine(mode: Mode) {
  const prefix = randomUUID();
  const calmClient = await connectedClient(cluster.natMap);
  const client = await connectedClient(servers.natMap);
  const options = { prefix, slots: SLOTS, minReplicas: 1, replicaTimeoutMs: 500, timeoutMs: 4_000 };
  const calm = await openInSmallSteps(createRedisStore(calmClient, options));
  const store = await openInSmallSteps(createRedisStore(client, options));
  const trial = await startTrial(calm, mode);
  const reader = await watchSegment(store, trial.segmentKey, trial);
  return {
    calm,
    store,
    trial,
    reader,
    ...(await placesOf(calm, prefix, trial.segmentKey)),
    async expectEnd(outcome: Awaited<ReturnType<typeof sync>>) {
      await expectAppliedInTheEnd(outcome, quickRollcall(store), trial);
      await reader.expectOnly(trial.after);
      await until("all nodes answer", async () => (await calm.listMemberSets()).length > 0);
      await expectState(calm, trial.segmentKey, trial.after);
    },
    async [Symbol.asyncDispose]() {
      await reader.stop();
      calmClient.disconnect();
      client.disconnect();
    },
  };
}

/** A slot, and the primary that serves it. */
interface Place {
  readonly slot: number;
  readonly primary: number;
}

/** Where the registry is, where members are that a sync writes late, on another primary, and the third primary. */
async function placesOf(store: SegmentStore, prefix: string, segmentKey: string) {
  const { included } = (await quickRollcall(store).getSegment(segmentKey)) ?? {};
  const keys = createRecordKeys(prefix, environment);
  const placeOf = async (key: string): Promise<Place> => ({
    slot: keySlot(key),
    primary: await primaryOf(keySlot(key)),
  });
  const registry = await placeOf(keys.registry);
  const runs = await Promise.all(keys.runs(SLOTS, included?.set?.shardBits ?? 0).map(({ used }) => placeOf(used)));
  const members = runs.findLast(({ primary }) => primary !== registry.primary) ?? registry;
  const third = runs.find(({ primary }) => primary !== registry.primary && primary !== members.primary) ?? registry;
  return { registry, members, third: third.primary };
}

async function connectedClient(natMap: NatMap): Promise<Cluster> {
  const client = newClient(natMap);
  await once(client, "ready");
  return client;
}

function newClient(natMap: NatMap): Cluster {
  const client = new Cluster(Object.values(natMap), { natMap, retryDelayOnFailover: 0 });
  client.on("error", () => {});
  return client;
}
