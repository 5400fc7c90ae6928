// The fixtures do what they say. What adapters make of it is for the adapters' own tests.

import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { describe, expect, it } from "vitest";
import { type Address, type PostgresStandby, startPgBouncer, startPostgresServer, until } from "./index.js";

// Long enough for a slow disk; each of them takes a few seconds.
const timeout = 120_000;

describe("a PostgreSQL server", () => {
  it("answers in the clear and by TLS, and lives on after a kill", { timeout }, async () => {
    await using server = await startPostgresServer({ settings: { max_connections: "17" } });
    expect(await server.psql("SHOW max_connections")).toBe("17");
    await server.psql("CREATE TABLE kept AS SELECT 'it''s' AS value");
    await expect(server.psql("SELECT FROM nothing")).rejects.toThrow(/does not exist/);
    expect(await greeting(server)).toBe("R");
    await handshake(server, server.ca);
    await expect(handshake(server, server.wrongCa)).rejects.toMatchObject({
      code: expect.stringMatching(/VERIFY|SIGNED/),
    });

    await server.kill();
    await expect(server.psql("SELECT 1")).rejects.toThrow();
    await server.start();
    expect(await server.psql("SELECT value FROM kept")).toBe("it's");
    expect(await greeting(server)).toBe("R");
  });

  it("says why it does not start", { timeout }, async () => {
    await expect(startPostgresServer({ settings: { no_such_setting: "1" } })).rejects.toThrow(/no_such_setting/);
  });

  it("has a standby that follows until it is detached, and takes over when the server is dead", {
    timeout,
  }, async () => {
    await using server = await startPostgresServer({ standby: "asynchronous" });
    const standby = server.standby as PostgresStandby;
    await server.psql("CREATE TABLE followed (x int)");
    await standby.caughtUp();
    await standby.detach();
    await server.psql("CREATE TABLE lost (x int)");
    await server.kill();
    await expect(server.psql("SELECT 1")).rejects.toThrow();
    await standby.promote();
    expect(await greeting(standby)).toBe("R");
    expect(await standby.psql("SELECT to_regclass('followed'), to_regclass('lost')")).toBe("followed|");
  });

  it("has a standby that commits wait for", { timeout }, async () => {
    await using server = await startPostgresServer({ standby: "synchronous" });
    const standby = server.standby as PostgresStandby;
    await standby.kill();
    let isOver = false;
    const creating = server.psql("CREATE TABLE waited (x int)").finally(() => {
      isOver = true;
    });
    await until("the commit waits", async () => {
      return (await server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")) === "1";
    });
    expect(isOver).toBe(false);
    await standby.start();
    await creating;
    await server.kill();
    await standby.promote();
    expect(await standby.psql("CREATE TABLE more AS SELECT to_regclass('waited') AS x; SELECT x FROM more")).toBe(
      "waited",
    );
  });

  it("has a disk that can be full", { timeout }, async () => {
    await using server = await startPostgresServer({ diskMegabytes: 128 });
    await server.psql("CREATE TABLE filled (x text)");
    await server.fillDisk();
    const fill = "INSERT INTO filled SELECT repeat('x', 1000) FROM generate_series(1, 1000)";
    await expect(server.psql(fill)).rejects.toThrow(/No space left/);
    await server.freeDisk();
    await server.psql(fill);
  });
});

describe("a PgBouncer", () => {
  it("asks for a password, and is gone when it was stopped", { timeout }, async () => {
    await using server = await startPostgresServer();
    const bouncer = await startPgBouncer(server);
    expect(await greeting(bouncer)).toBe("R");
    await bouncer.stop();
    await expect(greeting(bouncer)).rejects.toThrow();
    expect(await greeting(server)).toBe("R");
  });
});

/** The first byte that a server answers to a start message: `R`, it asks for a password. */
async function greeting({ host, port }: Address): Promise<string> {
  const socket = connectTcp({ host, port });
  const pairs = Buffer.from("user\0postgres\0database\0postgres\0\0");
  const message = Buffer.alloc(8 + pairs.length);
  message.writeInt32BE(message.length, 0);
  // Version 3.0 of the protocol.
  message.writeInt32BE(196_608, 4);
  pairs.copy(message, 8);
  socket.write(message);
  return firstByte(socket).finally(() => socket.destroy());
}

async function handshake({ host, port }: Address, ca: string): Promise<void> {
  const socket = connectTcp({ host, port });
  // SSLRequest.
  socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
  expect(await firstByte(socket)).toBe("S");
  const secure = connectTls({ socket, ca, host });
  await once(secure, "secureConnect").finally(() => secure.destroy());
}

async function firstByte(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("the connection ended")));
    socket.once("data", (bytes) => resolve(String.fromCharCode(bytes[0] ?? 0)));
  });
}
