// The fixtures do what they say. What adapters make of it is for the adapters' own tests.

import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { describe, expect, it } from "vitest";
import { startRedisCluster, startRedisSentinel, startRedisServer, until } from "./index.js";

// Long enough for a slow disk; each of them takes a few seconds.
const timeout = 120_000;

describe("a Redis server", () => {
  it("answers in the clear and by TLS, and lives on after a kill", { timeout }, async () => {
    await using server = await startRedisServer({ args: ["--appendonly", "yes", "--appendfsync", "always"] });
    expect(await server.cli("set", "key", "value")).toBe("OK");
    await expect(server.cli("incr", "key")).rejects.toThrow();
    expect(await pingInTheClear(server)).toBe("+PONG\r\n");
    expect(await pingByTls(server, server.ca)).toBe("+PONG\r\n");
    await expect(pingByTls(server, server.wrongCa)).rejects.toMatchObject({
      code: expect.stringMatching(/VERIFY|SIGNED/),
    });

    await server.kill();
    await expect(server.cli("ping")).rejects.toThrow();
    await server.start();
    expect(await server.cli("get", "key")).toBe("value");
    expect(await pingInTheClear(server)).toBe("+PONG\r\n");
  });

  it("says why it does not start", { timeout }, async () => {
    await expect(startRedisServer({ args: ["--no-such-setting", "1"] })).rejects.toThrow(/no-such-setting/);
  });
});

describe("a Sentinel", () => {
  it("changes the roles, on demand and when the master dies", { timeout }, async () => {
    await using sentinel = await startRedisSentinel();
    const [first, second] = sentinel.ports.data;
    expect(await sentinel.master()).toBe(first);
    expect(await sentinel.failover()).toBe(second);
    expect(await sentinel.cli(second, "role")).toMatch(/^master\n/);
    expect(await sentinel.cli(first, "role")).toMatch(/^slave\n/);

    await sentinel.kill(second);
    await until("the replica takes over", async () => (await sentinel.master()) === first);
    await sentinel.start(second);
    await until("the old master follows", async () => /^slave\n/.test(await sentinel.cli(second, "role")));
    for (const address of Object.values(sentinel.natMap)) expect(await pingInTheClear(address)).toBe("+PONG\r\n");
  });
});

describe("a cluster", () => {
  it("moves a slot with its keys, and stops half way if asked", { timeout }, async () => {
    await using cluster = await startRedisCluster();
    // Keys with the same tag lie in the same slot, whatever else they hold.
    const keys = ["{tag}plain", '{tag}quote"', "{tag}line\nbreak", "{tag}ümlaut"];
    const slot = Number(await cluster.cli(0, "cluster", "keyslot", "{tag}"));
    const from = await cluster.masterOf(slot);
    const to = (from + 1) % 3;
    for (const key of keys) await cluster.cli(from, "set", key, `value of ${key}`);

    const move = await cluster.beginMove(slot, to);
    expect(await move.migrateKeys(1)).toBe(1);
    const answers = await Promise.allSettled(keys.map((key) => cluster.cli(from, "get", key)));
    expect(answers.filter(({ status }) => status === "rejected")).toHaveLength(1);
    while ((await move.migrateKeys()) > 0);
    await move.end();
    expect(await cluster.masterOf(slot)).toBe(to);
    for (const key of keys) expect(await cluster.cli(to, "get", key)).toBe(`value of ${key}`);

    await cluster.moveSlot(slot, from);
    expect(await cluster.masterOf(slot)).toBe(from);
    expect(await cluster.cli(from, "cluster", "countkeysinslot", String(slot))).toBe(String(keys.length));
    await cluster.ready();
    for (const address of Object.values(cluster.natMap)) expect(await pingInTheClear(address)).toBe("+PONG\r\n");
  });

  it("puts a replica in the place of a dead master", { timeout }, async () => {
    await using cluster = await startRedisCluster({ replicas: 1 });
    expect(cluster.nodes).toHaveLength(6);
    expect(await cluster.masterOf(0)).toBe(0);
    await cluster.kill(0);
    await until("its replica serves its slots", async () => (await cluster.masterOf(0)) === 3);
    await cluster.start(0);
    await cluster.ready();
    expect(await cluster.cli(0, "role")).toMatch(/^slave\n/);
  });
});

interface Server {
  readonly host: string;
  readonly port: number;
}

function pingInTheClear({ host, port }: Server): Promise<string> {
  return ping((connected) => connectTcp({ host, port }, connected));
}

function pingByTls(
  { host, tlsPort }: { readonly host: string; readonly tlsPort: number },
  ca: string,
): Promise<string> {
  return ping((connected) => connectTls({ host, port: tlsPort, ca }, connected));
}

function ping(connect: (connected: () => void) => ReturnType<typeof connectTcp>): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(() => socket.write("PING\r\n"));
    socket.on("error", reject);
    socket.on("data", (bytes) => {
      socket.destroy();
      resolve(bytes.toString());
    });
  });
}
