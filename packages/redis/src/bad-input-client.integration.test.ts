// A client that its owner has closed, or that is not fit: the store says so, at once, and what to do.

import { type Address, until } from "@rollcall/conformance/containers";
import type { MemberSetId } from "@rollcall/core";
import { Cluster, type ClusterOptions, Redis } from "ioredis";
import { Cluster as Cluster6, Redis as Redis6 } from "ioredis-6";
import { describe, expect, inject, it } from "vitest";
import { DEPLOYMENTS, NO_RESENDING, type OwnedClient } from "./deployments.test-setup.js";
import type { RedisClient } from "./index.js";
import { codeOf, expectRefusal, type Refusal } from "./refusal.test-setup.js";
import { storeMaker } from "./stores.test-setup.js";

const [node] = inject("redisCluster").nodes as [Address];

// Longer than a test may take: that a client is closed must be seen, and not waited for.
const storeAt = storeMaker({ timeoutMs: 60_000 });

describe("a client that its owner closed", () => {
  const refusal: Refusal = { code: "closed", remedy: /was closed; make another/ };
  const endings = [
    { ending: "disconnect", end: async (client: OwnedClient) => client.disconnect() },
    { ending: "quit", end: (client: OwnedClient) => client.quit() },
  ];
  const closings = DEPLOYMENTS.flatMap((deployment) => endings.map((ending) => ({ ...deployment, ...ending })));

  it.each(DEPLOYMENTS)("before it had connected: $name", async ({ connect }) => {
    const client = connect();
    const store = storeAt(client);
    client.disconnect();
    await expectRefusal(() => store.open(), refusal);
  });

  it.each(closings)("before the store was made, by $ending(): $name", async ({ connect, end }) => {
    const client = connect();
    await until("it is connected", () => client.status === "ready");
    await end(client);
    await expectRefusal(() => storeAt(client).open(), refusal);
  });

  it.each(closings)("after the store was opened, by $ending(): $name", async ({ connect, end }) => {
    const client = connect();
    const store = storeAt(client);
    await store.open();
    await end(client);
    await expectRefusal(() => store.getEpoch(), refusal);
    // Not only while it is closing.
    await until("it is closed", () => client.status === "end" || client.status === "close");
    await new Promise(setImmediate);
    await expectRefusal(() => store.getEpoch(), refusal);
    await expectRefusal(() => store.dropMemberSets([{ id: 1 as MemberSetId, shardBits: 0 }]), refusal);
  });

  it.each(closings)("while calls are under way, by $ending(): $name", async ({ connect, end }) => {
    const client = connect();
    const store = storeAt(client);
    await store.open();
    const calls = Array.from({ length: 20 }, () => store.getEpoch().then(String, (error: unknown) => error));
    const ended = end(client).catch(() => {});
    // Each is answered or fails, and none waits for an answer that cannot come.
    for (const outcome of await Promise.all(calls))
      if (typeof outcome !== "string") expect(["closed", "store_unavailable"]).toContain(codeOf(outcome));
    await ended;
    await expectRefusal(() => store.getEpoch(), refusal);
  });
});

describe("a client", () => {
  const lazy = { lazyConnect: true } as const;
  const cluster = (options: ClusterOptions) => new Cluster([node], { ...lazy, ...options });
  const fit = { retryDelayOnFailover: 0 } as const;

  it.each<[name: string, make: () => RedisClient, remedy: RegExp]>([
    ["that resends by default", () => new Redis(lazy), /autoResendUnfulfilledCommands: false/],
    [
      "that is told to resend",
      () => new Redis({ ...lazy, autoResendUnfulfilledCommands: true, maxRetriesPerRequest: 0 }),
      /autoResendUnfulfilledCommands: false/,
    ],
    ["of ioredis 6 that resends by default", () => new Redis6(lazy), /autoResendUnfulfilledCommands: false/],
    ["with a keyPrefix", () => new Redis({ ...lazy, ...NO_RESENDING, keyPrefix: "a:" }), /give option prefix/],
    ["of a Cluster with a keyPrefix", () => cluster({ ...fit, keyPrefix: "a:" }), /give option prefix/],
    [
      "of a Cluster whose nodes have a keyPrefix",
      () => cluster({ ...fit, redisOptions: { keyPrefix: "a:" } }),
      /give option prefix/,
    ],
    ["of a Cluster that resends by default", () => cluster({}), /retryDelayOnFailover: 0/],
    ["of a Cluster that is told to resend", () => cluster({ retryDelayOnFailover: 1 }), /retryDelayOnFailover: 0/],
    [
      "of a Cluster whose nodes alone do not resend",
      () => cluster({ redisOptions: NO_RESENDING }),
      /retryDelayOnFailover: 0/,
    ],
    [
      "of a Cluster that connects to nodes again",
      () => cluster({ ...fit, clusterNodeRetryStrategy: () => 10 }),
      /clusterNodeRetryStrategy/,
    ],
    [
      "of a Cluster that connects to nodes again, and does not resend there",
      () => cluster({ ...fit, clusterNodeRetryStrategy: () => 10, redisOptions: NO_RESENDING }),
      /clusterNodeRetryStrategy/,
    ],
    ["that reads from replicas", () => cluster({ ...fit, scaleReads: "slave" }), /scaleReads: "master"/],
    ["that reads from all", () => cluster({ ...fit, scaleReads: "all" }), /scaleReads: "master"/],
    [
      "that chooses where it reads",
      () => cluster({ ...fit, scaleReads: (all: Redis[]) => all[0] as Redis }),
      /scaleReads: "master"/,
    ],
    [
      "of a Cluster that joins commands",
      () => cluster({ ...fit, enableAutoPipelining: true }),
      /enableAutoPipelining: false/,
    ],
    [
      "of a Cluster, of ioredis 6, that resends by default",
      () => new Cluster6([node], lazy),
      /retryDelayOnFailover: 0/,
    ],
    // Numbers as text would not be what scripts and lists of sets are compared with.
    [
      "that answers numbers as text",
      () => new Redis({ ...lazy, ...NO_RESENDING, stringNumbers: true }),
      /stringNumbers/,
    ],
    [
      "of ioredis 6 that answers numbers as text",
      () => new Redis6({ ...lazy, ...NO_RESENDING, stringNumbers: true }),
      /stringNumbers/,
    ],
    [
      "of a Cluster that answers numbers as text",
      () => cluster({ ...fit, redisOptions: { stringNumbers: true } }),
      /stringNumbers/,
    ],
  ])("%s is refused", async (_, make, remedy) => {
    await expectRefusal(async () => storeAt(make()), { code: "invalid_request", remedy });
  });

  it.each<[name: string, make: () => RedisClient]>([
    ["not yet connecting", () => new Cluster([], { ...lazy, ...fit })],
    ["connecting", () => new Cluster([], fit)],
    ["of ioredis 6", () => new Cluster6([], { ...lazy, ...fit })],
  ])("of a Cluster without a node is refused, at the latest when the store is opened: %s", async (_, make) => {
    await expectRefusal(async () => storeAt(make()).open(), { code: "invalid_request", remedy: /node/ });
  });

  it.each<[name: string, make: () => RedisClient]>([
    ["that does not resend", () => new Redis({ ...lazy, autoResendUnfulfilledCommands: false })],
    ["that joins commands", () => new Redis({ ...lazy, ...NO_RESENDING, enableAutoPipelining: true })],
    ["of a Cluster that does not resend", () => cluster(fit)],
    ["that reads from primaries", () => cluster({ ...fit, scaleReads: "master" })],
  ])("%s is taken", (_, make) => {
    expect(storeAt(make()).environment).toBe("default");
  });
});
