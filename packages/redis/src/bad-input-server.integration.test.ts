// A server that is not fit to keep anything: a replica, one that is too old, evicts keys, or has too few replicas.

import { startRedisServer, startTcpProxy } from "@rollcall/conformance/containers";
import { Redis } from "ioredis";
import { describe, expect, inject, it } from "vitest";
import { quickStoreMaker, url } from "./bad-input.test-setup.js";
import { NO_RESENDING, SENTINEL_DATA } from "./deployments.test-setup.js";
import { expectRefusal, type Refusal } from "./refusal.test-setup.js";

const { host, port } = inject("redisServer");
const storeAt = quickStoreMaker();

describe("a server", () => {
  it("that is a replica is refused", async () => {
    const replica = await findReplica();
    const refusal: Refusal = { code: "store_read_only", remedy: /primary/ };
    await expectRefusal(() => storeAt(`redis://${replica.host}:${replica.port}`).open(), refusal);
    await expectRefusal(() => storeAt(new Redis({ ...replica, ...NO_RESENDING })).open(), refusal);
  });

  it("that is too old is refused, and the oldest that is not is taken", async () => {
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

  it("that evicts any key is refused unless it is allowed", async () => {
    // A server of its own: the shared one has other tests.
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

  it("with fewer replicas than are asked for does not get a write acknowledged", async () => {
    const store = storeAt(url, { minReplicas: 1, replicaTimeoutMs: 50 });
    await expectRefusal(() => store.open(), { code: "store_unavailable", remedy: /replicas/ });
  });
});

async function findReplica() {
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
  const version = /redis_version:(\d+\.\d+)/.exec(info)?.[1];
  expect(version).toBeDefined();
  return version ?? "";
}
