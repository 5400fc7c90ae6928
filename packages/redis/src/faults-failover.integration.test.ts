// A primary that hands over to its replica in the middle of a sync, by order or because it died, under the eyes of a Sentinel. Every
// write is confirmed by the replica, so what was acknowledged survives.

import { randomUUID } from "node:crypto";
import { type NatMap, type RedisSentinel, startRedisSentinel, until } from "@rollcall/conformance/containers";
import {
  endOf,
  expectApplied,
  expectRefused,
  expectState,
  forgetSwallowed,
  MODES,
  type Mode,
  openInSmallSteps,
  quickRollcall,
  startTrial,
  swallowReplies,
  sync,
  watchSegment,
} from "@rollcall/conformance/faults";
import type { RollcallOptions, SegmentStore } from "@rollcall/core";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ProxiedServers, proxyServers } from "./fault-line.test-setup.js";
import { createRedisStore } from "./index.js";
import { recordKeys } from "./keyspace.test-setup.js";

const timeout = 120_000;
const FEW_REPEATS: RollcallOptions = { retry: { retries: 3, minDelayMs: 20 } };

let sentinel: RedisSentinel;
let servers: ProxiedServers;
beforeAll(async () => {
  sentinel = await startRedisSentinel();
  servers = await proxyServers(sentinel.natMap);
}, timeout);
afterAll(async () => {
  await servers[Symbol.asyncDispose]();
  await sentinel.stop();
});

describe.each(MODES)("during a %s", (mode) => {
  it("the roles may change", { timeout }, async () => {
    await using line = await startLine(mode);
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      servers.proxies.forEach(swallowReplies);
      await sentinel.failover();
      await Promise.all(servers.proxies.map(forgetSwallowed));
    });
    await line.expectEnd(outcome);
  });

  it("the primary may die", { timeout }, async () => {
    await using line = await startLine(mode);
    const primary = await sentinel.master();
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      servers.proxies.forEach(swallowReplies);
      await sentinel.kill(primary);
      await until("the replica takes over", async () => (await sentinel.master()) !== primary);
      await Promise.all(servers.proxies.map(forgetSwallowed));
      await sentinel.start(primary);
    });
    await line.expectEnd(outcome);
  });
});

describe("a write", () => {
  it.each(MODES)("of a %s is not acknowledged while there is no replica", { timeout }, async (mode) => {
    await using line = await startLine(mode);
    const [, replica] = await inRoles();
    await sentinel.kill(replica);
    expectRefused(await sync(quickRollcall(line.store, FEW_REPEATS), line.trial), "store_unavailable");
    await sentinel.start(replica);
    await line.expectEnd(await sync(quickRollcall(line.store), line.trial));
  });

  it.each(MODES)("that ends a %s is not acknowledged for being found in the record", { timeout }, async (mode) => {
    await using line = await startLine(mode);
    const [primary, replica] = await inRoles();
    const store: SegmentStore = {
      ...line.store,
      async putSegment(next, ...rest) {
        // The finish gives the lease back; all before it has reached the replica.
        if (next.lease.holder === undefined) await sentinel.kill(replica);
        return line.store.putSegment(next, ...rest);
      },
    };
    // A long lease, so that no renewal comes in between.
    const rollcall = quickRollcall(store, { ...FEW_REPEATS, leaseTtlMs: 60_000 });
    expectRefused(await sync(rollcall, line.trial), "store_unavailable");
    // It is there all the same, and nobody may say that it is safe.
    const { segments } = recordKeys(line.prefix);
    const record = await sentinel.cli(primary, "hget", segments, line.trial.segmentKey);
    expect(record).toMatch(/"lease":\{"token":\d+,"expiresAt":0\}/);
    await sentinel.start(replica);
    await line.expectEnd(await sync(quickRollcall(line.store), line.trial));
  });

  it("by a script that the primary does not know waits for the replica too", { timeout }, async () => {
    await using client = await openClient(sentinel.natMap);
    const store = createRedisStore(client.redis, { prefix: randomUUID(), minReplicas: 1, replicaTimeoutMs: 100 });
    await until("the replica is there", () => store.open().then(() => true));
    const [primary, replica] = await inRoles();
    const environment = await store.getEnvironment();
    const next = { ...environment, revision: randomUUID() };

    // The last of the tests, for the Sentinel stays dead. It publishes by the primary, which gives the replica something to confirm all the time.
    await sentinel.kill(sentinel.ports.sentinel);
    await sentinel.cli(primary, "script", "flush");
    await until("the replica has confirmed everything", async () => {
      const replication = await client.redis.info("replication");
      return /offset=(\d+),/.exec(replication)?.[1] === /master_repl_offset:(\d+)/.exec(replication)?.[1];
    });
    await using lagging = await makeBusy(replica);
    await expect(store.putEnvironment(next, environment.revision)).rejects.toMatchObject({ code: "store_unavailable" });
    expect(await lagging.isBusy()).toBe(true);
    await store.close();
  });
});

/** No replica can be told to lag behind; one that counts to a large number does. */
async function makeBusy(port: number) {
  const address = Object.entries(sentinel.natMap).find(([name]) => name.endsWith(`:${port}`))?.[1];
  const redis = new Redis({ ...address, commandTimeout: 200 });
  redis.on("error", () => {});
  const isBusy = () =>
    redis.ping().then(
      () => false,
      () => true,
    );
  await until("the replica answers", async () => !(await isBusy()));
  const counting = sentinel.cli(port, "eval", "for number = 1, 4e8 do end", "0");
  await until("the replica is busy", isBusy);
  return {
    isBusy,
    async [Symbol.asyncDispose]() {
      await counting;
      redis.disconnect();
    },
  };
}

async function inRoles(): Promise<[primary: number, replica: number]> {
  const primary = await sentinel.master();
  const [first, second] = sentinel.ports.data;
  return primary === first ? [first, second] : [second, first];
}

/** A segment, and a store and a reader that reach it through proxies. */
async function startLine(mode: Mode) {
  const prefix = randomUUID();
  const calmClient = await openClient(sentinel.natMap);
  const client = await openClient(servers.natMap);
  const options = { prefix, minReplicas: 1, replicaTimeoutMs: 500, timeoutMs: 2_000 };
  const calm = await openInSmallSteps(createRedisStore(calmClient.redis, options));
  const store = await openInSmallSteps(createRedisStore(client.redis, options));
  const trial = await startTrial(calm, mode);
  const reader = await watchSegment(store, trial.segmentKey, trial);
  return {
    prefix,
    store,
    trial,
    async expectEnd(outcome: Awaited<ReturnType<typeof sync>>) {
      expect(store.failures.length).toBeGreaterThan(0);
      expectApplied(await endOf(outcome, quickRollcall(store), trial));
      await reader.expectOnly(trial.after);
      await until("the new primary answers", async () => (await calm.getEpoch()) !== "");
      await expectState(calm, trial.segmentKey, trial.after);
    },
    async [Symbol.asyncDispose]() {
      await reader.stop();
      await calmClient[Symbol.asyncDispose]();
      await client[Symbol.asyncDispose]();
    },
  };
}

async function openClient(natMap: NatMap) {
  const redis = new Redis({
    sentinels: [...sentinel.sentinels],
    name: sentinel.name,
    natMap,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
  });
  redis.on("error", () => {});
  return {
    redis,
    async [Symbol.asyncDispose]() {
      redis.disconnect();
    },
  };
}
