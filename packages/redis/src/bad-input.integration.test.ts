// Whatever may be wrong with a login, a server, a client, options or data: it ends in a typed error, soon, that names the
// remedy and holds no secret.

import { randomUUID } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Address,
  type RedisServer,
  startRedisServer,
  startTcpProxy,
  until,
} from "@rollcall/conformance/containers";
import {
  type ContextHashes,
  contextHash,
  createRollcall,
  type EnvironmentName,
  type Fence,
  type MemberSetId,
  type Segment,
  type SegmentKey,
  type SegmentStore,
  type StoredMemberSet,
} from "@rollcall/core";
import { Cluster, type ClusterOptions, Redis } from "ioredis";
import { Cluster as Cluster6, Redis as Redis6 } from "ioredis-6";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import { bufferOf } from "./block-group.js";
import {
  CLUSTER,
  CLUSTER_6,
  NO_RESENDING,
  readerRights,
  SENTINEL,
  SENTINEL_DATA,
  SINGLE,
  SINGLE_6,
  singleAt,
} from "./deployments.test-setup.js";
import { createRedisStore, type RedisClient, type RedisStoreOptions, storeFactory } from "./index.js";
import { readPeople, syncEverything, syncPeople } from "./people.test-setup.js";
import { createRecordKeys, type RecordKeys } from "./record-key.js";
import { expectRefusal, findSecrets, type Refusal } from "./refusal.test-setup.js";
import { syncerRights } from "./servers.test-setup.js";

const { host, port, tlsPort, ca, wrongCa } = inject("redisServer");
const { sentinels, name: primaryName } = inject("redisSentinel");
const { nodes } = inject("redisCluster");
const [node] = nodes as [Address];
const url = `redis://${host}:${port}`;

/** Holds what has to be encoded in a URL. */
const SECRET = "wr0ng/p@ss:word";
const login = `someone:${encodeURIComponent(SECRET)}`;
const secrets = [SECRET];

const SEGMENT = "people" as SegmentKey;
const HASH = contextHash("ada") as ContextHashes;
const NOTHING: ContextHashes = new Uint8Array();

/** How long a server may keep a store of these tests waiting: a small part of the time that a test has. */
const timeoutMs = 2_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function storeAt(target: string | RedisClient, options: RedisStoreOptions = {}): SegmentStore {
  if (typeof target !== "string") cleanups.push(() => target.disconnect());
  const store = createRedisStore(target, { prefix: randomUUID(), timeoutMs, ...options });
  cleanups.push(() => store.close());
  return store;
}

const useCluster: Refusal = { code: "invalid_request", remedy: /redis\+cluster:.*Cluster client/ };
const useSingle: Refusal = { code: "invalid_request", remedy: /redis:.*Redis client/ };
const noSuchDatabase: Refusal = { code: "invalid_request", remedy: /database/ };

/** A server that is none of Redis. */
let webPort: number;
const web = createHttpServer((_, response) => response.end());
beforeAll(async () => {
  web.listen(0, "127.0.0.1");
  await until("it listens", () => web.listening);
  webPort = (web.address() as AddressInfo).port;
});
afterAll(() => web.close());

type Case = readonly [name: string, target: () => string | RedisClient, refusal: Refusal];

function refused(cases: readonly Case[], options?: RedisStoreOptions): void {
  it.each(cases)("%s", async (_, target, refusal) => {
    const store = storeAt(target(), options);
    await expectRefusal(() => store.open(), refusal);
    // And again: a handle whose opening failed is not open.
    await expectRefusal(() => store.getEpoch(), { code: "closed", remedy: /open\(\)/ });
  });
}

describe("a look for secrets", () => {
  it("finds them wherever they are", () => {
    const hidden = Object.defineProperty(new Error("x"), "command", { value: { args: [Buffer.from(SECRET)] } });
    expect(findSecrets(new Error("y", { cause: hidden }), secrets)).toEqual(["error.cause.command.args.0"]);
    expect(findSecrets(new Error(`at ${encodeURIComponent(SECRET)}`), secrets)).toEqual([
      "error.stack",
      "error.message",
    ]);
    expect(findSecrets(new AggregateError([new Map([[SECRET, 1]])]), secrets)).toHaveLength(1);
    expect(findSecrets(new Error("y", { cause: new Error("x") }), secrets)).toEqual([]);
  });
});

describe("a wrong password", () => {
  const wrong = { username: "someone", password: SECRET };
  const refusal: Refusal = { code: "access_denied", remedy: /password/, secrets };
  refused([
    ["in a URL", () => `redis://${login}@${host}:${port}`, refusal],
    ["in a URL over TLS", () => `rediss://${login}@${host}:${tlsPort}?ca=${caFile(ca)}`, refusal],
    ["in a URL of a Cluster", () => `redis+cluster://${login}@${node.host}:${node.port}`, refusal],
    [
      "of the Sentinels, in a URL",
      () =>
        `redis+sentinel://${sentinels[0]?.host}:${sentinels[0]?.port}/${primaryName}?sentinelUsername=someone&sentinelPassword=${encodeURIComponent(SECRET)}`,
      refusal,
    ],
    ...[SINGLE, SINGLE_6, SENTINEL, CLUSTER, CLUSTER_6].map(
      (deployment): Case => [`in a client of ${deployment.name}`, () => deployment.connect(wrong), refusal],
    ),
  ]);
});

describe("no password where one is wanted", () => {
  // A server of its own: the shared ones are open to everybody.
  let locked: RedisServer;
  beforeAll(async () => {
    locked = await startRedisServer();
    await locked.cli("config", "set", "requirepass", SECRET);
  });
  afterAll(() => locked?.stop());

  it("in a URL, in a client, and in a URL of a Cluster", async () => {
    const at = { host: locked.host, port: locked.port };
    const refusal: Refusal = { code: "access_denied", remedy: /password/, secrets };
    await expectRefusal(() => storeAt(`redis://${at.host}:${at.port}`).open(), refusal);
    await expectRefusal(() => storeAt(`redis+cluster://${at.host}:${at.port}`).open(), refusal);
    await expectRefusal(() => storeAt(new Redis({ ...at, ...NO_RESENDING })).open(), refusal);
    await expectRefusal(() => storeAt(new Redis6({ ...at, ...NO_RESENDING })).open(), refusal);
    // It is the password that was missing, and nothing else.
    await storeAt(`redis://:${encodeURIComponent(SECRET)}@${at.host}:${at.port}`).open();
  });
});

describe("TLS", () => {
  const certificate: Refusal = { code: "access_denied", remedy: /certificate.*ca=/, secrets };
  refused([
    ["with another authority", () => `rediss://${login}@${host}:${tlsPort}?ca=${caFile(wrongCa)}`, certificate],
    ["with no authority that is known", () => `rediss://${login}@${host}:${tlsPort}`, certificate],
    [
      "with a file that is no certificate",
      () => `rediss://${login}@${host}:${tlsPort}?ca=${caFile("none")}`,
      certificate,
    ],
    [
      "to a server of another name",
      () => new Redis({ host, port: tlsPort, ...NO_RESENDING, tls: { ca, servername: "elsewhere.example" } }),
      { code: "access_denied", remedy: /certificate.*name/ },
    ],
    [
      "to a server that answers in the clear",
      () => `rediss://${login}@127.0.0.1:${webPort}`,
      { code: "access_denied", remedy: /TLS/, secrets },
    ],
  ]);

  // Redis takes a greeting of TLS for an unfinished line, and waits for more, unless a line feed is among its random bytes.
  const silent: Refusal = { code: ["access_denied", "store_unavailable"], remedy: /TLS/, secrets };
  refused([
    ["to a port of Redis in the clear", () => `rediss://${login}@${host}:${port}`, silent],
    ["to a node of a Cluster in the clear", () => `rediss+cluster://${login}@${node.host}:${node.port}`, silent],
    ["missing for a port that wants it", () => `redis://${login}@${host}:${tlsPort}`, silent],
  ]);
});

describe("a server of another kind", () => {
  const [watcher] = sentinels as [Address];
  refused([
    ["a node of a Cluster, by a URL", () => `redis://${node.host}:${node.port}`, useCluster],
    ["a node of a Cluster, by a client", () => new Redis({ ...node, ...NO_RESENDING }), useCluster],
    ["one server, by a URL of a Cluster", () => `redis+cluster://${host}:${port}`, useSingle],
    [
      "one server, by a client of a Cluster",
      () => new Cluster([{ host, port }], { retryDelayOnFailover: 0 }),
      useSingle,
    ],
    ["one server, by a URL of a Sentinel", () => `redis+sentinel://${host}:${port}/main`, useSingle],
    [
      "a Sentinel, by a URL of one server",
      () => `redis://${watcher.host}:${watcher.port}`,
      { code: "invalid_request", remedy: /redis\+sentinel:/ },
    ],
    [
      "a Sentinel that does not know the name",
      () => `redis+sentinel://${watcher.host}:${watcher.port}/nobody`,
      { code: "store_unavailable", remedy: /name/ },
    ],
    [
      "something else",
      () => `redis://${login}@127.0.0.1:${webPort}`,
      { code: "store_unavailable", remedy: /reachable/, secrets },
    ],
    // It must not end up in database 0, which is where ioredis stays when a database cannot be had.
    ["a database that the server has not", () => `${url}/9999`, noSuchDatabase],
    ["the same, in a client", () => new Redis({ host, port, db: 9_999, ...NO_RESENDING }), noSuchDatabase],
  ]);

  it("a replica", async () => {
    const replica = await findReplica();
    const refusal: Refusal = { code: "store_read_only", remedy: /primary/ };
    await expectRefusal(() => storeAt(`redis://${replica.host}:${replica.port}`).open(), refusal);
    await expectRefusal(() => storeAt(new Redis({ ...replica, ...NO_RESENDING })).open(), refusal);
  });

  it("one that is too old, and the oldest that is not", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const version = await realVersion();
    const target = `redis://127.0.0.1:${proxy.port}`;
    const [major = "", minor = ""] = version.split(".");
    const pretended = (from: number, to: number) =>
      `${String(from).padStart(major.length, "0")}.${String(to).padStart(minor.length, "0")}`;
    for (const old of [pretended(6, 1), pretended(6, 0), pretended(5, 9)]) {
      proxy.rewrite(`redis_version:${version}.`, `redis_version:${old}.`);
      await expectRefusal(() => storeAt(target).open(), { code: "invalid_request", remedy: /6\.2/ });
    }
    proxy.rewrite(`redis_version:${version}.`, `redis_version:${pretended(6, 2)}.`);
    await storeAt(target).open();
  });
});

describe("a server out of reach", () => {
  const refusal: Refusal = { code: "store_unavailable", remedy: /host|reachable/, secrets };
  const schemes: readonly [scheme: string, target: Address, path: string][] = [
    ["redis", { host, port }, ""],
    ["redis+cluster", node, ""],
    ["redis+sentinel", sentinels[0] as Address, `/${primaryName}`],
  ];

  it.each(schemes)("where nothing listens, by %s:", async (scheme, _, path) => {
    const store = storeAt(`${scheme}://${login}@127.0.0.1:${await closedPort()}${path}`);
    await expectRefusal(() => store.open(), refusal);
  });

  it.each(schemes)("whose name nobody knows, by %s:", async (scheme, _, path) => {
    const store = storeAt(`${scheme}://${login}@no-such-host.invalid${path}`);
    await expectRefusal(() => store.open(), refusal);
  });

  it.each(schemes)("that accepts and never answers, by %s:", async (scheme, target, path) => {
    await using proxy = await startTcpProxy(target);
    proxy.freeze();
    const store = storeAt(`${scheme}://${login}@127.0.0.1:${proxy.port}${path}`, { timeoutMs: 300 });
    await expectRefusal(() => store.open(), refusal);
    await store.close();
    // A client that is still there would stay: the server behind the proxy keeps connections that are idle.
    await proxy.resume();
    await until("its connections are gone", () => proxy.connections === 0);
  });

  it("that stops answering, and answers again", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const at = { host: "127.0.0.1", port: proxy.port };
    for (const target of [`redis://${at.host}:${at.port}`, new Redis({ ...at, ...NO_RESENDING })]) {
      const store = storeAt(target, { timeoutMs: 300 });
      await store.open();
      proxy.freeze();
      await expectRefusal(() => store.getEpoch(), refusal);
      await proxy.resume();
      await until("it answers again", () => store.getEpoch());
    }
  });
});

describe("a client that its owner closed", () => {
  const refusal: Refusal = { code: "closed", remedy: /was closed; make another/ };
  const deployments = [SINGLE, SINGLE_6, SENTINEL, CLUSTER, CLUSTER_6];

  it.each(deployments)("before it had connected: $name", async ({ connect }) => {
    const client = connect();
    const store = storeAt(client);
    client.disconnect();
    await expectRefusal(() => store.open(), refusal);
  });

  it.each(deployments)("before the store was made: $name", async ({ connect }) => {
    const client = connect();
    await until("it is connected", () => client.status === "ready");
    client.disconnect();
    await expectRefusal(() => storeAt(client).open(), refusal);
  });

  it.each(deployments)("after the store was opened: $name", async ({ connect }) => {
    const client = connect();
    const store = storeAt(client);
    await store.open();
    client.disconnect();
    await expectRefusal(() => store.getEpoch(), refusal);
    // Not only while it is closing.
    await until("it is closed", () => client.status === "end" || client.status === "close");
    await new Promise(setImmediate);
    await expectRefusal(() => store.getEpoch(), refusal);
    await expectRefusal(() => store.dropMemberSets([{ id: 1 as MemberSetId, shardBits: 0 }]), refusal);
  });
});

describe("a client", () => {
  const lazy = { lazyConnect: true } as const;
  const cluster = (options: ClusterOptions) => new Cluster([node], { ...lazy, ...options });

  it.each<[name: string, make: () => RedisClient, remedy: RegExp]>([
    ["that resends by default", () => new Redis(lazy), /autoResendUnfulfilledCommands: false/],
    [
      "that is told to resend",
      () => new Redis({ ...lazy, autoResendUnfulfilledCommands: true, maxRetriesPerRequest: 0 }),
      /autoResendUnfulfilledCommands: false/,
    ],
    ["of ioredis 6 that resends by default", () => new Redis6(lazy), /autoResendUnfulfilledCommands: false/],
    ["of a Cluster that resends by default", () => cluster({}), /retryDelayOnFailover: 0/],
    ["of a Cluster that is told to resend", () => cluster({ retryDelayOnFailover: 1 }), /retryDelayOnFailover: 0/],
    [
      "of a Cluster whose nodes alone do not resend",
      () => cluster({ redisOptions: NO_RESENDING }),
      /retryDelayOnFailover: 0/,
    ],
    [
      "of a Cluster that connects to nodes again",
      () => cluster({ retryDelayOnFailover: 0, clusterNodeRetryStrategy: () => 10 }),
      /clusterNodeRetryStrategy/,
    ],
    [
      "of a Cluster that connects to nodes again, and does not resend there",
      () => cluster({ retryDelayOnFailover: 0, clusterNodeRetryStrategy: () => 10, redisOptions: NO_RESENDING }),
      /clusterNodeRetryStrategy/,
    ],
    [
      "that reads from replicas",
      () => cluster({ retryDelayOnFailover: 0, scaleReads: "slave" }),
      /scaleReads: "master"/,
    ],
    ["that reads from all", () => cluster({ retryDelayOnFailover: 0, scaleReads: "all" }), /scaleReads: "master"/],
    [
      "that chooses where it reads",
      () => cluster({ retryDelayOnFailover: 0, scaleReads: (all: Redis[]) => all[0] as Redis }),
      /scaleReads: "master"/,
    ],
    [
      "of a Cluster that joins commands",
      () => cluster({ retryDelayOnFailover: 0, enableAutoPipelining: true }),
      /enableAutoPipelining: false/,
    ],
    [
      "of a Cluster, of ioredis 6, that resends by default",
      () => new Cluster6([node], lazy),
      /retryDelayOnFailover: 0/,
    ],
  ])("%s is refused", async (_, make, remedy) => {
    await expectRefusal(async () => storeAt(make()), { code: "invalid_request", remedy });
  });

  it.each<[name: string, make: () => RedisClient]>([
    ["that does not resend", () => new Redis({ ...lazy, autoResendUnfulfilledCommands: false })],
    ["that joins commands", () => new Redis({ ...lazy, ...NO_RESENDING, enableAutoPipelining: true })],
    ["of a Cluster that does not resend", () => cluster({ retryDelayOnFailover: 0 })],
    ["that reads from primaries", () => cluster({ retryDelayOnFailover: 0, scaleReads: "master" })],
  ])("%s is taken", (_, make) => {
    expect(storeAt(make()).environment).toBe("default");
  });
});

describe("options", () => {
  const long = "a".repeat(65);
  it.each<[name: string, options: RedisStoreOptions]>([
    ...["", "a:b", "{a}", "a b", "ä", "a\n", long].map((prefix): [string, RedisStoreOptions] => ["prefix", { prefix }]),
    ...["", "a:b", "{a}", "a b", "ä", "a\n", long].map((environment): [string, RedisStoreOptions] => [
      "environment",
      { environment },
    ]),
    ...[0, 3, -1, 1.5, 2_048, Number.NaN, Number.POSITIVE_INFINITY].map((slots): [string, RedisStoreOptions] => [
      "slots",
      { slots },
    ]),
    ...[-1, 0.5, Number.NaN].map((minReplicas): [string, RedisStoreOptions] => ["minReplicas", { minReplicas }]),
    ...[0, -1, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY].map((ms): [string, RedisStoreOptions] => [
      "timeoutMs",
      { timeoutMs: ms },
    ]),
    ...[0, -1, Number.NaN].map((ms): [string, RedisStoreOptions] => ["replicaTimeoutMs", { replicaTimeoutMs: ms }]),
    ["replicaTimeoutMs", { minReplicas: 1, replicaTimeoutMs: 500, timeoutMs: 500 }],
    ["replicaTimeoutMs", { minReplicas: 1, timeoutMs: 1_000 }],
  ])("%s: %o is refused", async (name, options) => {
    await expectRefusal(async () => storeAt(`redis://${login}@${host}:${port}`, options), {
      code: "invalid_request",
      remedy: new RegExp(name),
      secrets,
    });
  });

  it("at their limits are taken", async () => {
    for (const options of [
      { prefix: "a", environment: "b" },
      { prefix: "A.b_c-9".padEnd(64, "x"), environment: "A.b_c-9".padEnd(64, "x") },
      { slots: 1_024, timeoutMs: 2 ** 31 - 1 },
      { minReplicas: 0, replicaTimeoutMs: 5_000, timeoutMs: 1_000 },
    ])
      await storeAt(url, { prefix: randomUUID(), ...options }).open();
  });

  it("a policy that evicts any key is refused unless it is allowed", async () => {
    await using own = await startRedisServer();
    const target = `redis://${own.host}:${own.port}`;
    for (const policy of ["allkeys-lru", "allkeys-lfu", "allkeys-random"]) {
      await own.cli("config", "set", "maxmemory-policy", policy);
      await expectRefusal(() => storeAt(target).open(), {
        code: "invalid_request",
        remedy: /noeviction.*allowEviction/,
      });
      await storeAt(target, { allowEviction: true }).open();
    }
    // These take only keys that expire, and none of Rollcall's does.
    for (const policy of ["volatile-lru", "volatile-ttl", "noeviction"]) {
      await own.cli("config", "set", "maxmemory-policy", policy);
      await storeAt(target).open();
    }
  });

  it("more replicas than there are keep a write from being acknowledged", async () => {
    const store = storeAt(url, { minReplicas: 1, replicaTimeoutMs: 50 });
    await expectRefusal(() => store.open(), { code: "store_unavailable", remedy: /replicas/ });
  });
});

describe("data of somebody else", () => {
  const keys = (prefix: string) => createRecordKeys(prefix, "default" as EnvironmentName);

  it.each<[name: string, put: (client: Redis, key: string) => Promise<unknown>]>([
    ["a string", (client, key) => client.set(key, "x")],
    ["a list", (client, key) => client.lpush(key, "x")],
    ["a set", (client, key) => client.sadd(key, "x")],
    ["a hash with other fields", (client, key) => client.hset(key, "field", "x")],
    ...["", "no JSON", "null", "7", "{}", '{"layout":"1","slots":1}', '{"layout":1}', '{"layout":1,"slots":"1"}'].map(
      asLayout,
    ),
    // Numbers of slots that no environment is made with, some of which could never be dealt out.
    ...[0, -1, 1.5, 3, 2_048, 1e9].map((slots) => asLayout(JSON.stringify({ layout: 1, slots }))),
  ])("%s in place of the registry is left as it is", async (_, put) => {
    const prefix = randomUUID();
    const { registry } = keys(prefix);
    await put(adminClient(), registry);
    const before = await adminClient().dumpBuffer(registry);
    await expectRefusal(() => storeAt(url, { prefix }).open(), { code: "layout_mismatch", remedy: /prefix/ });
    expect(await adminClient().dumpBuffer(registry)).toEqual(before);
  });

  it.each(['{"layout":2,"slots":1}', '{"layout":2}', '{"layout":17,"slots":{"members":4}}'])(
    "a newer layout is refused: %s",
    async (layout) => {
      const prefix = randomUUID();
      await storeAt(url, { prefix }).open();
      await adminClient().hset(keys(prefix).registry, "layout", layout);
      for (const readOnly of [false, true])
        await expectRefusal(() => storeAt(url, { prefix, readOnly }).open(), {
          code: "layout_mismatch",
          remedy: /upgrade/,
        });
    },
  );

  // For each key the calls that need it. What stands in its place is of another type, or else Redis would say nothing.
  const calls: Record<string, (place: Place) => Promise<unknown>> = {
    getEnvironment: ({ store }) => store.getEnvironment(),
    putEnvironment: async ({ store, environment }) => store.putEnvironment(environment, environment.revision),
    getEpoch: ({ store }) => store.getEpoch(),
    getSegment: ({ store }) => store.getSegment(SEGMENT),
    listSegments: ({ store }) => store.listSegments(),
    putSegment: ({ store, segment }) => store.putSegment(segment, segment.revision),
    appendHistory: ({ store, report }) => store.appendHistory(SEGMENT, report),
    getHistory: ({ store }) => store.getHistory(SEGMENT),
    allocateMemberSet: ({ store, fence }) => store.allocateMemberSet(0, fence),
    raiseFence: ({ store, set, fence }) => store.raiseFence(set, fence),
    listMemberSets: ({ store }) => store.listMemberSets(),
    writeBlocks: ({ store, set, fence }) => store.writeBlocks(set, [{ shard: 0, adds: HASH, removes: NOTHING }], fence),
    findMemberSets: ({ store, set }) => store.findMemberSets(HASH, [set]),
    scanMembers: ({ store, set }) => store.scanMembers(set)[Symbol.asyncIterator]().next(),
    dropMemberSets: ({ store, set }) => store.dropMemberSets([set]),
  };
  const needs: readonly [key: string, of: (keys: RecordKeys) => string, needed: readonly string[]][] = [
    [
      "registry",
      ({ registry }) => registry,
      ["getEnvironment", "putEnvironment", "getEpoch", "putSegment", "allocateMemberSet"],
    ],
    ["segments", ({ segments }) => segments, ["getSegment", "listSegments", "putSegment"]],
    ["sets", ({ sets }) => sets, ["allocateMemberSet", "raiseFence", "listMemberSets", "dropMemberSets"]],
    ["history", (all) => all.history(SEGMENT), ["appendHistory", "getHistory"]],
    [
      "fences",
      (all) => all.shardKeys(1, 0, 0).run.fences,
      ["allocateMemberSet", "raiseFence", "writeBlocks", "dropMemberSets"],
    ],
    ["used", (all) => all.shardKeys(1, 0, 0).run.used, ["writeBlocks", "scanMembers", "dropMemberSets"]],
    [
      "shard",
      (all) => all.shardKeys(1, 0, 0).shard,
      ["writeBlocks", "findMemberSets", "scanMembers", "dropMemberSets"],
    ],
    // A marker in the shard sends all of them on to the overflow.
    [
      "overflow",
      (all) => all.shardKeys(1, 0, 0).overflow,
      ["writeBlocks", "findMemberSets", "scanMembers", "dropMemberSets"],
    ],
  ];
  const meetings = needs.flatMap(([key, of, needed]) => needed.map((call) => [key, call, of] as const));

  it.each(meetings)("another type in place of %s is met by %s", async (key, call, of) => {
    const prefix = randomUUID();
    const all = keys(prefix);
    const { shard } = all.shardKeys(1, 0, 0);
    const place = await placeAt(storeAt(url, { prefix }));
    if (key === "overflow") await adminClient().hset(shard, bufferOf(HASH), "\0");
    else if (key !== "shard") await adminClient().del(shard);
    await adminClient().del(of(all));
    await (key === "used" ? adminClient().lpush(of(all), "foreign") : adminClient().set(of(all), "foreign"));
    const before = await adminClient().dumpBuffer(of(all));
    await expectRefusal(() => (calls[call] as (place: Place) => Promise<unknown>)(place), {
      code: "layout_mismatch",
      remedy: /prefix/,
    });
    expect(await adminClient().dumpBuffer(of(all))).toEqual(before);
  });

  it.each<[name: string, damage: (client: Redis, keys: RecordKeys) => Promise<unknown>, call: string]>([
    ["no environment record", (client, { registry }) => client.hdel(registry, "environment"), "getEnvironment"],
    [
      "a damaged environment record",
      (client, { registry }) => client.hset(registry, "environment", "r\nno JSON"),
      "getEnvironment",
    ],
    ["no epoch", (client, { registry }) => client.hdel(registry, "epoch"), "getEpoch"],
    ["no layout, when writing", (client, { registry }) => client.hdel(registry, "layout"), "putSegment"],
    ["no layout, when allocating", (client, { registry }) => client.hdel(registry, "layout"), "allocateMemberSet"],
    ["a damaged segment record", (client, { segments }) => client.hset(segments, SEGMENT, "r\n{}"), "getSegment"],
    [
      "a damaged segment record, in a list",
      (client, { segments }) => client.hset(segments, SEGMENT, "r\n{}"),
      "listSegments",
    ],
    ["a damaged record of a set", (client, { sets }) => client.hset(sets, 7, "1 a b\nno JSON"), "listMemberSets"],
    ["a damaged record of a dropped set", (client, { sets }) => client.hset(sets, 7, "\nno JSON"), "listMemberSets"],
    ["a report that is no JSON", (client, all) => client.lpush(all.history(SEGMENT), "no JSON"), "getHistory"],
    ["a report that is none", (client, all) => client.lpush(all.history(SEGMENT), "{}"), "getHistory"],
  ])("%s is corrupt data", async (_, damage, call) => {
    const prefix = randomUUID();
    const place = await placeAt(storeAt(url, { prefix }));
    await damage(adminClient(), keys(prefix));
    await expectRefusal(() => (calls[call] as (place: Place) => Promise<unknown>)(place), {
      code: "corrupt_data",
      remedy: /restore|verify|repeat the snapshot/,
    });
  });
});

describe("a store that is only read", () => {
  it("is not made", async () => {
    const prefix = randomUUID();
    await expectRefusal(() => storeAt(url, { prefix, readOnly: true }).open(), {
      code: "store_read_only",
      remedy: /environment default.*prefix/,
    });
    expect(await adminClient().keys(`*${prefix}*`)).toEqual([]);
  });

  it("refuses every write, and does none", async () => {
    const prefix = randomUUID();
    const { set, fence, segment, report, environment } = await placeAt(storeAt(url, { prefix }));
    const before = await contentsOf(prefix);
    const store = storeAt(url, { prefix, readOnly: true });
    await store.open();
    const writes = [
      () => store.putEnvironment(environment, environment.revision),
      () => store.putSegment(segment, segment.revision),
      () => store.appendHistory(SEGMENT, report),
      () => store.allocateMemberSet(0, fence),
      () => store.raiseFence(set, { ...fence, token: fence.token + 1 }),
      () => store.writeBlocks(set, [{ shard: 0, adds: NOTHING, removes: HASH }], fence),
      () => store.dropMemberSets([set]),
      () => createRollcall(store).merge("people", { add: ["grace"] }),
    ];
    for (const write of writes) await expectRefusal(write, { code: "store_read_only", remedy: /readOnly/ });
    expect(await contentsOf(prefix)).toEqual(before);
    expect(await store.findMemberSets(HASH, [set])).toEqual([[set.id]]);
  });

  it("is asked for by the URL or by the options", async () => {
    const prefix = randomUUID();
    for (const [query, options] of [
      ["&readOnly=true", {}],
      ["&readOnly=true", { readOnly: false }],
      ["", { readOnly: true }],
      ["&readOnly=false", { readOnly: true }],
    ] as const) {
      const store = storeFactory.createStore(`${url}?prefix=${prefix}${query}`, options);
      cleanups.push(() => store.close());
      await expectRefusal(() => store.open(), { code: "store_read_only", remedy: /environment/ });
    }
  });
});

describe("rights", () => {
  const deployments = [SINGLE, SINGLE_6, SENTINEL, CLUSTER, CLUSTER_6];

  it.each(deployments)("of a syncer suffice to sync, read, check and sweep: $name", async (deployment) => {
    const prefix = randomUUID();
    const user = await deployment.createUser(syncerRights(`${prefix}:`));
    // Only the server behind the Sentinel has a replica.
    const minReplicas = deployment === SENTINEL ? 1 : 0;
    await syncEverything(storeAt(deployment.connect(user), { prefix, minReplicas }));
  });

  it.each(deployments)("of a reader suffice to read, and for nothing else: $name", async (deployment) => {
    const prefix = randomUUID();
    await syncPeople(storeAt(deployment.connect(), { prefix }));
    const user = await deployment.createUser(readerRights(`${prefix}:`));
    await readPeople(storeAt(deployment.connect(user), { prefix, readOnly: true }));
    // It is the server that keeps such a user from writing.
    const store = storeAt(deployment.connect(user), { prefix });
    await store.open();
    await expectRefusal(() => createRollcall(store).merge("people", { add: ["eve"] }), {
      code: "access_denied",
      remedy: /NOPERM/,
    });
  });

  // A script that the shared server has seen runs without +eval.
  it.each(commandsOf(syncerRights("")).filter((right) => !right.startsWith("+cluster") && right !== "+eval"))(
    "of a syncer need %s",
    async (right) => {
      const prefix = randomUUID();
      const user = await SINGLE.createUser(syncerRights(`${prefix}:`).filter((other) => other !== right));
      // WAIT is needed only by who waits for replicas, and these have none.
      const options = right === "+wait" ? { minReplicas: 1, replicaTimeoutMs: 50 } : {};
      await expectRefusal(() => syncEverything(storeAt(SINGLE.connect(user), { prefix, ...options })), {
        code: "access_denied",
        remedy: /right/,
        secrets: [user.password],
      });
    },
  );

  it.each(commandsOf(readerRights("")).filter((right) => !right.startsWith("+cluster")))(
    "of a reader need %s",
    async (right) => {
      const prefix = randomUUID();
      await syncPeople(storeAt(SINGLE.connect(), { prefix }));
      const user = await SINGLE.createUser(readerRights(`${prefix}:`).filter((other) => other !== right));
      await expectRefusal(() => readPeople(storeAt(SINGLE.connect(user), { prefix, readOnly: true })), {
        code: "access_denied",
        remedy: /right/,
        secrets: [user.password],
      });
    },
  );

  it.each<[right: string, refusal: Refusal]>([
    ["+cluster|slots", { code: "access_denied", remedy: /right/ }],
    // ioredis keeps to itself why a Cluster is not ready.
    ["+cluster|info", { code: "store_unavailable", remedy: /reachable/ }],
  ])("on a Cluster need %s", async (right, refusal) => {
    const prefix = randomUUID();
    for (const rights of [syncerRights(`${prefix}:`), readerRights(`${prefix}:`)]) {
      expect(rights).toContain(right);
      const user = await CLUSTER.createUser(rights.filter((other) => other !== right));
      await expectRefusal(() => storeAt(CLUSTER.connect(user), { prefix }).open(), {
        ...refusal,
        secrets: [user.password],
      });
    }
  });

  it("of a syncer need +eval where scripts are new", async () => {
    await using server = await startRedisServer();
    const own = singleAt({ host: server.host, port: server.port });
    const user = await own.createUser(["~*", ...commandsOf(syncerRights("")).filter((right) => right !== "+eval")]);
    await expectRefusal(() => syncEverything(storeAt(own.connect(user))), { code: "access_denied", remedy: /'eval'/ });
  });

  it("need both patterns of keys", async () => {
    const prefix = randomUUID();
    for (const pattern of [`~${prefix}:*`, `~{${prefix}:*`]) {
      const user = await SINGLE.createUser(syncerRights(`${prefix}:`).filter((other) => other !== pattern));
      await expectRefusal(() => syncEverything(storeAt(SINGLE.connect(user), { prefix })), {
        code: "access_denied",
        remedy: /right/,
        secrets: [user.password],
      });
    }
  });

  it("to another database are asked for, and not passed over", async () => {
    const prefix = randomUUID();
    const user = await SINGLE.createUser(syncerRights(`${prefix}:`));
    const target = `redis://${user.username}:${encodeURIComponent(user.password)}@${host}:${port}/1`;
    await expectRefusal(() => storeAt(target, { prefix }).open(), {
      code: "access_denied",
      remedy: /right/,
      secrets: [user.password],
    });
    const allowed = await SINGLE.createUser([...syncerRights(`${prefix}:`), "+select"]);
    await syncEverything(
      storeAt(`redis://${allowed.username}:${encodeURIComponent(allowed.password)}@${host}:${port}/1`, { prefix }),
    );
  });
});

function caFile(pem: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "rollcall-redis-")), "ca.pem");
  writeFileSync(file, pem);
  return encodeURIComponent(file);
}

async function findReplica(): Promise<Address> {
  for (const server of SENTINEL_DATA) {
    const admin = new Redis({ ...server, ...NO_RESENDING });
    const [role] = (await admin.role()) as [string];
    admin.disconnect();
    if (role === "slave") return server;
  }
  throw new Error("there is no replica");
}

async function realVersion(): Promise<string> {
  const admin = new Redis({ host, port, ...NO_RESENDING });
  const info = await admin.info("server");
  admin.disconnect();
  return /redis_version:(\d+\.\d+)/.exec(info)?.[1] ?? "";
}

async function closedPort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await until("it listens", () => listener.listening);
  const { port: free } = listener.address() as AddressInfo;
  listener.close();
  return free;
}

/** One client for whatever a test does to the data behind a store's back. */
let sharedAdmin: Redis | undefined;
function adminClient(): Redis {
  sharedAdmin ??= new Redis({ host, port, ...NO_RESENDING });
  return sharedAdmin;
}
afterAll(() => sharedAdmin?.disconnect());

function asLayout(text: string): [name: string, put: (client: Redis, key: string) => Promise<unknown>] {
  return [`the layout ${text || "of no letters"}`, (client, key) => client.hset(key, "layout", text)];
}

/** An environment with one segment that has one member, and what calls on it take. */
async function placeAt(store: SegmentStore) {
  await store.open();
  const report = await createRollcall(store).merge(SEGMENT, { add: ["ada"] });
  const [set] = (await store.listMemberSets()) as [StoredMemberSet];
  const segment = (await store.getSegment(SEGMENT)) as Segment;
  expect(set.shardBits).toBe(0);
  return { store, report, set, fence: set.fence as Fence, segment, environment: await store.getEnvironment() };
}
type Place = Awaited<ReturnType<typeof placeAt>>;

/** Every key of a prefix with all that it holds. */
async function contentsOf(prefix: string): Promise<Map<string, string>> {
  const keys = (await adminClient().keys(`*${prefix}*`)).toSorted();
  const contents = await Promise.all(keys.map((key) => adminClient().dumpBuffer(key)));
  return new Map(keys.map((key, index) => [key, contents[index]?.toString("hex") ?? ""]));
}

function commandsOf(rights: readonly string[]): string[] {
  return rights.filter((right) => right.startsWith("+"));
}
