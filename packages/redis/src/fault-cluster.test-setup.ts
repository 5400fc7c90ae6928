// A Cluster with a replica for each primary that the tests of one file break, seen from inside, and segments on it. Every write is
// confirmed by the replicas.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { type NatMap, type RedisCluster, startRedisCluster, until } from "@rollcall/conformance/containers";
import {
  endOf,
  expectApplied,
  expectState,
  forgetSwallowed,
  type Mode,
  type Outcome,
  openInSmallSteps,
  quickRollcall,
  type RecordingStore,
  startTrial,
  swallowReplies,
  watchSegment,
} from "@rollcall/conformance/faults";
import type { MemberSet, MemberSetId } from "@rollcall/core";
import keySlot from "cluster-key-slot";
import { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll } from "vitest";
import { type ProxiedServers, proxyServers } from "./fault-line.test-setup.js";
import { hashes, packed } from "./hashes.test-setup.js";
import { createRedisStore, type RedisClient, type RedisStoreOptions } from "./index.js";
import { recordKeys } from "./keyspace.test-setup.js";

/** How long a test on it may take. */
export const timeout = 120_000;

const SLOTS = 256;

/** The Cluster. Nodes are numbered; node `i + 3` starts as the replica of node `i`. */
export interface BrokenCluster {
  readonly cluster: RedisCluster;
  /** Proxies before the nodes. */
  readonly servers: ProxiedServers;
  /** One client for each node, to look at the Cluster from there. */
  readonly nodes: readonly Redis[];
}

/** One for a file of tests, there from the first test to the last. */
export function brokenCluster(): BrokenCluster {
  let running: BrokenCluster | undefined;
  beforeAll(async () => {
    running = await start();
  }, timeout);
  afterAll(async () => {
    for (const node of running?.nodes ?? []) node.disconnect();
    await running?.servers[Symbol.asyncDispose]();
    await running?.cluster.stop();
  });
  const started = () => {
    if (running === undefined) throw new Error("the Cluster is there for tests only");
    return running;
  };
  return {
    get cluster() {
      return started().cluster;
    },
    get servers() {
      return started().servers;
    },
    get nodes() {
      return started().nodes;
    },
  };
}

async function start(): Promise<BrokenCluster> {
  const cluster = await startRedisCluster({ replicas: 1 });
  const servers = await proxyServers(cluster.natMap);
  const nodes = cluster.nodes.map((at) => new Redis({ ...at, maxRetriesPerRequest: 0 }).on("error", () => {}));
  return { cluster, servers, nodes };
}

/** The node that follows `node`, or that it follows. */
export function replicaOf(node: number): number {
  return (node + 3) % 6;
}

/** Whether the node says that it is a primary. */
async function isPrimary({ nodes }: BrokenCluster, node: number): Promise<boolean> {
  const role = (await nodes[node]?.call("role")) as unknown[] | undefined;
  return role?.[0] === "master";
}

/** Which node serves a slot, as node number 1 sees it now. */
export async function slotTable({ cluster, nodes }: BrokenCluster): Promise<(slot: number) => number> {
  const ranges = (await nodes[1]?.cluster("SLOTS")) ?? [];
  return (slot) => {
    const range = ranges.find(([from, to]) => from <= slot && slot <= to);
    return cluster.nodes.findIndex((_, node) => range?.[2]?.[1] === 7_000 + node);
  };
}

/** Kills a primary when calls on their way to it are done and nobody has heard of it; its replica takes over. It comes back as a replica. */
export async function failOver(broken: BrokenCluster, primary: number): Promise<void> {
  const { cluster, servers } = broken;
  servers.proxies.forEach(swallowReplies);
  await cluster.kill(primary);
  await until("its replica takes over", () => isPrimary(broken, replicaOf(primary)));
  await Promise.all(servers.proxies.map(forgetSwallowed));
  await cluster.start(primary);
}

/** Has a primary die that keeps nothing on disk, and come back; calls on their way to it are done, and nobody hears of it. */
export async function loseEverythingOf({ cluster, servers }: BrokenCluster, primary: number): Promise<void> {
  servers.proxies.forEach(swallowReplies);
  // First, so that it cannot take over with what it has.
  await cluster.kill(replicaOf(primary));
  await cluster.kill(primary);
  await cluster.start(primary);
  await cluster.start(replicaOf(primary));
  await Promise.all(servers.proxies.map(forgetSwallowed));
}

/** Resolves when the Cluster is whole again and `stores` reach all of it. */
export async function untilWell({ cluster }: BrokenCluster, ...stores: readonly RecordingStore[]): Promise<void> {
  await cluster.ready();
  for (const store of stores) await until("all nodes answer", () => store.findMemberSets(EVERYWHERE, [NO_SET]));
}

/** Contexts in all shards, and a set that there is not. */
const EVERYWHERE = packed(hashes(1_000));
const NO_SET: MemberSet = { id: (2 ** 32 - 1) as MemberSetId, shardBits: 6 };

/** A slot, and the primary that serves it. */
interface Place {
  readonly slot: number;
  readonly primary: number;
}

/** Where the registry is, where members are that a sync writes late, on another primary, and the third primary. */
async function placesOf(broken: BrokenCluster, prefix: string, shardBits: number) {
  const table = await slotTable(broken);
  const placeOf = (key: string): Place => ({ slot: keySlot(key), primary: table(keySlot(key)) });
  const registry = placeOf(recordKeys(prefix).registry);
  const runs = recordKeys(prefix)
    .runs(SLOTS, shardBits)
    .map(({ used }) => placeOf(used));
  const members = runs.findLast(({ primary }) => primary !== registry.primary) ?? registry;
  const third = runs.find(({ primary }) => primary !== registry.primary && primary !== members.primary) ?? registry;
  return { registry, members, third: third.primary };
}

/** Where a shard of `shardBits` is kept. */
export function slotOfShard(prefix: string, shardBits: number, shard: number): number {
  return keySlot(recordKeys(prefix).shardKeys(SLOTS, shardBits, shard).shard);
}

/** A segment, a calm store that reaches it, and a store and a reader that do through proxies. */
export async function startLine(broken: BrokenCluster, mode: Mode) {
  const { cluster, servers } = broken;
  const prefix = randomUUID();
  const calmClient = await connectedClient(cluster.natMap);
  const client = await connectedClient(servers.natMap);
  const calm = await openOn(calmClient, { prefix });
  const store = await openOn(client, { prefix });
  const trial = await startTrial(calm, mode);
  const set = (await quickRollcall(calm).getSegment(trial.segmentKey))?.included.set;
  if (set === undefined) throw new Error("a segment with members has a set");
  const reader = await watchSegment(store, trial.segmentKey, trial);
  return {
    prefix,
    calm,
    store,
    trial,
    set,
    reader,
    ...(await placesOf(broken, prefix, set.shardBits)),
    /** Asserts that the sync, repeated if need be, is acknowledged, and that all is as it says. */
    async expectEnd(outcome: Outcome) {
      expectApplied(await endOf(outcome, quickRollcall(store), trial));
      await reader.expectOnly(trial.after);
      await untilWell(broken, calm);
      await expectState(calm, trial.segmentKey, trial.after);
    },
    async [Symbol.asyncDispose]() {
      await reader.stop();
      calmClient.disconnect();
      client.disconnect();
    },
  };
}

/** Opens a store on `client`. */
export function openOn(client: RedisClient, options: RedisStoreOptions): Promise<RecordingStore> {
  const defaults = { slots: SLOTS, minReplicas: 1, replicaTimeoutMs: 500, timeoutMs: 4_000 };
  return openInSmallSteps(createRedisStore(client, { ...defaults, ...options }));
}

/** A client that knows the whole Cluster. */
export async function connectedClient(natMap: NatMap): Promise<Cluster> {
  const client = newClient(natMap);
  await once(client, "ready");
  return client;
}

/** A client that is still connecting. */
export function newClient(natMap: NatMap): Cluster {
  const client = new Cluster(Object.values(natMap), { natMap, retryDelayOnFailover: 0 });
  client.on("error", () => {});
  return client;
}
