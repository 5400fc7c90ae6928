// A login that is wrong or may not do what is needed; and that the rights which the Redis page names suffice, none too many.

import { randomUUID } from "node:crypto";
import { type Address, type RedisServer, startRedisServer } from "@rollcall/conformance/containers";
import { createRollcall } from "@rollcall/core";
import { Redis } from "ioredis";
import { Redis as Redis6 } from "ioredis-6";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type Case, caFile, login, quickStoreMaker, refused, SECRET, secrets } from "./bad-input.test-setup.js";
import {
  CLUSTER,
  DEPLOYMENTS,
  NO_RESENDING,
  readerRights,
  SENTINEL,
  SINGLE,
  singleAt,
} from "./deployments.test-setup.js";
import { readPeople, syncEverything, syncPeople } from "./people.test-setup.js";
import { expectRefusal, findSecrets, type Refusal } from "./refusal.test-setup.js";
import { syncerRights } from "./servers.test-setup.js";

const { host, port, tlsPort, ca } = inject("redisServer");
const { sentinels, name: primaryName } = inject("redisSentinel");
const [watcher] = sentinels as [Address];
const [node] = inject("redisCluster").nodes as [Address];

const storeAt = quickStoreMaker();

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
  refused(storeAt, [
    ["in a URL", () => `redis://${login}@${host}:${port}`, refusal],
    ["in a URL over TLS", () => `rediss://${login}@${host}:${tlsPort}?ca=${caFile(ca)}`, refusal],
    ["in a URL of a Cluster", () => `redis+cluster://${login}@${node.host}:${node.port}`, refusal],
    [
      "of the Sentinels, in a URL",
      () =>
        `redis+sentinel://${watcher.host}:${watcher.port}/${primaryName}?sentinelUsername=someone&sentinelPassword=${encodeURIComponent(SECRET)}`,
      refusal,
    ],
    ...DEPLOYMENTS.map(
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

describe("rights", () => {
  const lacking = { code: "access_denied", remedy: /right/ } as const;

  it.each(DEPLOYMENTS)("of a syncer suffice to sync, read, check and sweep: $name", async (deployment) => {
    const prefix = randomUUID();
    const user = await deployment.createUser(syncerRights(`${prefix}:`));
    // Only the server behind the Sentinel has a replica.
    const minReplicas = deployment === SENTINEL ? 1 : 0;
    await syncEverything(storeAt(deployment.connect(user), { prefix, minReplicas }));
  });

  it.each(DEPLOYMENTS)("of a reader suffice to read, and for nothing else: $name", async (deployment) => {
    const prefix = randomUUID();
    await syncPeople(storeAt(deployment.connect(), { prefix }));
    const user = await deployment.createUser(readerRights(`${prefix}:`));
    await readPeople(storeAt(deployment.connect(user), { prefix, readOnly: true }));
    // It is the server that keeps such a user from writing.
    const store = storeAt(deployment.connect(user), { prefix });
    await store.open();
    await expectRefusal(() => createRollcall(store).merge("people", { add: ["eve"] }), {
      code: "access_denied",
      remedy: /lacks a right; grant it/,
    });
  });

  // CLUSTER and SELECT have tests of their own, and a script that the shared server has seen runs without EVAL.
  const elsewhere = ["+cluster|slots", "+cluster|info", "+select", "+eval"];
  it.each(commandsOf(syncerRights("")).filter((right) => !elsewhere.includes(right)))(
    "of a syncer need %s",
    async (right) => {
      const prefix = randomUUID();
      const user = await SINGLE.createUser(without(syncerRights(`${prefix}:`), right));
      // WAIT is needed only by who waits for replicas, and these have none.
      const options = right === "+wait" ? { minReplicas: 1, replicaTimeoutMs: 50 } : {};
      await expectRefusal(() => syncEverything(storeAt(SINGLE.connect(user), { prefix, ...options })), {
        ...lacking,
        secrets: [user.password],
      });
    },
  );

  it.each(commandsOf(readerRights("")).filter((right) => !elsewhere.includes(right)))(
    "of a reader need %s",
    async (right) => {
      const prefix = randomUUID();
      await syncPeople(storeAt(SINGLE.connect(), { prefix }));
      const user = await SINGLE.createUser(without(readerRights(`${prefix}:`), right));
      await expectRefusal(() => readPeople(storeAt(SINGLE.connect(user), { prefix, readOnly: true })), {
        ...lacking,
        secrets: [user.password],
      });
    },
  );

  it.each<[right: string, refusal: Refusal]>([
    ["+cluster|slots", lacking],
    // ioredis keeps to itself why a Cluster is not ready.
    ["+cluster|info", { code: "store_unavailable", remedy: /reachable/ }],
  ])("on a Cluster need %s", async (right, refusal) => {
    const prefix = randomUUID();
    for (const rights of [syncerRights(`${prefix}:`), readerRights(`${prefix}:`)]) {
      expect(rights).toContain(right);
      const user = await CLUSTER.createUser(without(rights, right));
      await expectRefusal(() => storeAt(CLUSTER.connect(user), { prefix }).open(), {
        ...refusal,
        secrets: [user.password],
      });
    }
  });

  it("of a syncer need +eval where scripts are new", async () => {
    await using server = await startRedisServer();
    const own = singleAt({ host: server.host, port: server.port });
    const user = await own.createUser(["~*", ...without(commandsOf(syncerRights("")), "+eval")]);
    await expectRefusal(() => syncEverything(storeAt(own.connect(user))), { code: "access_denied", remedy: /'eval'/ });
  });

  it("need both patterns of keys", async () => {
    const prefix = randomUUID();
    for (const pattern of [`~${prefix}:*`, `~{${prefix}:*`]) {
      const user = await SINGLE.createUser(without(syncerRights(`${prefix}:`), pattern));
      await expectRefusal(() => syncEverything(storeAt(SINGLE.connect(user), { prefix })), {
        ...lacking,
        secrets: [user.password],
      });
    }
  });

  it("to another database are asked for, and not passed over", async () => {
    const prefix = randomUUID();
    const target = ({ username, password }: { readonly username: string; readonly password: string }) =>
      `redis://${username}:${encodeURIComponent(password)}@${host}:${port}/1`;
    const user = await SINGLE.createUser(without(syncerRights(`${prefix}:`), "+select"));
    await expectRefusal(() => storeAt(target(user), { prefix }).open(), { ...lacking, secrets: [user.password] });
    const allowed = await SINGLE.createUser(syncerRights(`${prefix}:`));
    await syncEverything(storeAt(target(allowed), { prefix }));
  });
});

function commandsOf(rights: readonly string[]): string[] {
  return rights.filter((right) => right.startsWith("+"));
}

function without(rights: readonly string[], right: string): string[] {
  expect(rights).toContain(right);
  return rights.filter((other) => other !== right);
}
