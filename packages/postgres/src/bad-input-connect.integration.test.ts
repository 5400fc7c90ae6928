// Wrong ways to reach a server: logins, TLS, hosts, pools that are closed or used up. Each is a typed error, in bounded time, with a
// remedy and without the password.

import { createServer } from "node:net";
import { expectRefusal, type Refusal } from "@rollcall/conformance";
import { startPgBouncer, startPostgresServer, startTcpProxy, until } from "@rollcall/conformance/containers";
import pg from "pg";
import { afterEach, describe, expect, inject, it } from "vitest";
import { createPostgresStore, type PostgresClient, type PostgresStoreOptions } from "./index.js";
import { caFile, newSchema, SERVER, schemaFor, urlOf } from "./place.test-setup.js";
import { SYNCER } from "./servers.test-setup.js";

/** Holds what has to be encoded in a URL. */
const SECRET = "wr0ng/p@ss:word";
const secrets = [SECRET, SERVER.password, SYNCER.password];

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function storeAt(target: string | PostgresClient, options: PostgresStoreOptions = {}) {
  const store = createPostgresStore(target, { timeoutMs: 3_000, ...options });
  cleanups.push(() => store.close());
  return store;
}

function poolOf(config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ ...SERVER, ...config });
  pool.on("error", () => {});
  cleanups.push(() => (pool.ended ? undefined : pool.end()));
  return pool;
}

type Case = readonly [
  name: string,
  target: () => string | PostgresClient | Promise<string>,
  refusal: Omit<Refusal, "secrets">,
];

function refused(cases: readonly Case[]): void {
  it.each(cases)("%s", async (_, target, refusal) => {
    const store = storeAt(await target());
    await expectRefusal(() => store.open(), { ...refusal, secrets });
    // And again: a handle whose opening failed is not open.
    await expectRefusal(() => store.getEpoch(), { code: "closed", remedy: /open\(\)/ });
  });
}

describe("a login", () => {
  const wrong = { code: "access_denied", remedy: /user name or password/ } as const;
  const bouncer = inject("pgBouncer");
  const schema = newSchema();
  refused([
    ["with a wrong password", () => urlOf(schema, { password: SECRET }), wrong],
    ["with a wrong password, in a pool", () => poolOf({ password: SECRET }), wrong],
    ["of nobody", () => urlOf(schema, { user: "nobody", password: SECRET }), wrong],
    [
      "without a password",
      () => `postgres://${SERVER.user}@${SERVER.host}:${SERVER.port}/postgres`,
      { code: "access_denied", remedy: /password/ },
    ],
    [
      "to a database that is not there",
      () => urlOf(schema).replace("/postgres?", "/nowhere?"),
      { code: "invalid_request", remedy: /database/ },
    ],
    ["with a wrong password, to PgBouncer", () => urlOf(schema, { at: bouncer, password: SECRET }), wrong],
    ["of nobody, to PgBouncer", () => urlOf(schema, { at: bouncer, user: "nobody", password: SECRET }), wrong],
  ]);
});

describe("TLS", () => {
  const certificate = { code: "access_denied", remedy: /certificate.*sslrootcert/ } as const;
  const schema = newSchema();
  refused([
    [
      "that the server wants and does not get",
      () => urlOf(schema, SYNCER),
      { code: "access_denied", remedy: /TLS.*sslmode/ },
    ],
    ["with another authority", () => urlOf(schema, { more: `&sslrootcert=${caFile(SERVER.wrongCa)}` }), certificate],
    ["with no authority that is known", () => urlOf(schema, { more: "&sslmode=verify-full" }), certificate],
    [
      "with a file that is no certificate",
      () => urlOf(schema, { more: `&sslrootcert=${caFile("none")}` }),
      certificate,
    ],
    [
      "to a server of another name",
      () => poolOf({ ssl: { ca: SERVER.ca, servername: "elsewhere.example" } }),
      { code: "access_denied", remedy: /certificate.*name/ },
    ],
    [
      "to an address that is not in the certificate",
      () => urlOf(schema, { at: SERVER.inner, more: `&sslrootcert=${caFile(SERVER.ca)}` }),
      certificate,
    ],
    [
      "to PgBouncer, which speaks none here",
      () => urlOf(schema, { at: inject("pgBouncer"), more: "&sslmode=require" }),
      { code: "access_denied", remedy: /TLS/ },
    ],
  ]);

  it("is spoken with sslmode=require and with the right authority", async () => {
    const role = await schemaFor(SYNCER.user);
    for (const more of ["&sslmode=require", `&sslrootcert=${caFile(SERVER.ca)}`])
      await storeAt(urlOf(role, { ...SYNCER, more })).open();
  });
});

describe("a server out of reach", () => {
  const refusal: Refusal = { code: "store_unavailable", remedy: /host|server|reachable/, secrets };

  it("where nothing listens", async () => {
    const port = await closedPort();
    await expectRefusal(() => storeAt(urlOf("any", { at: { host: "127.0.0.1", port } })).open(), refusal);
  });

  it("whose name nobody knows", async () => {
    const at = { host: "no-such-host.invalid", port: 5_432 };
    await expectRefusal(() => storeAt(urlOf("any", { at })).open(), refusal);
  });

  it("that accepts and never answers", async () => {
    await using proxy = await startTcpProxy(SERVER);
    proxy.freeze();
    const store = storeAt(urlOf("any", { at: proxy }), { timeoutMs: 300 });
    await expectRefusal(() => store.open(), refusal);
    await store.close();
    // A connection that nobody waits for any more would keep the process alive.
    await proxy.resume();
    await until("its connections are gone", () => proxy.connections === 0);
  });

  it("that stops answering, and answers again", async () => {
    await using proxy = await startTcpProxy(SERVER);
    const schema = newSchema();
    const pool = poolOf({ host: proxy.host, port: proxy.port, connectionTimeoutMillis: 2_000 });
    for (const target of [urlOf(schema, { at: proxy }), pool]) {
      const store = storeAt(target, { schema, timeoutMs: 2_000 });
      await storeAt(urlOf(schema)).open();
      await store.open();
      proxy.freeze();
      await expectRefusal(() => store.getEpoch(), refusal);
      await proxy.resume();
      await until("it answers again", () => store.getEpoch());
    }
  });

  it("whose connections are all in use", async () => {
    const pool = poolOf({ max: 1, connectionTimeoutMillis: 2_000 });
    const taken = await pool.connect();
    const store = storeAt(pool, { schema: newSchema() });
    await expectRefusal(() => store.open(), { code: "store_unavailable", remedy: /connection.*pool/, secrets });
    taken.release();
    await store.open();
  });
});

describe("a client of the caller's", () => {
  it("that was closed before, or is closed meanwhile, is told so", async () => {
    const schema = newSchema();
    const refusal: Refusal = { code: "closed", remedy: /handle/, secrets };
    const pool = poolOf({});
    const store = storeAt(pool, { schema });
    await store.open();
    await pool.end();
    await expectRefusal(() => store.getEpoch(), refusal);
    await expectRefusal(() => storeAt(pool, { schema }).open(), refusal);

    const client = new pg.Client({ ...SERVER });
    await client.connect();
    const single = storeAt(client, { schema });
    await single.open();
    await client.end();
    await expectRefusal(() => single.getEpoch(), refusal);
  });

  it("stays open when the store is closed, and a pool for a URL does not", async () => {
    const schema = newSchema();
    const pool = poolOf({});
    const store = storeAt(pool, { schema });
    await store.open();
    await store.close();
    expect((await pool.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);

    await using proxy = await startTcpProxy(SERVER);
    const own = storeAt(urlOf(schema, { at: proxy }));
    await own.open();
    expect(proxy.connections).toBeGreaterThan(0);
    await own.close();
    await until("its connections are gone", () => proxy.connections === 0);
  });
});

/** For containers of a test's own. No store waits so long. */
const timeout = 120_000;

describe("a server", () => {
  it("that is a standby is refused, and taken when it was promoted", { timeout }, async () => {
    await using server = await startPostgresServer({ standby: "asynchronous" });
    const { standby } = server;
    const login = `${server.user}:${encodeURIComponent(server.password)}`;
    await storeAt(`postgres://${login}@${server.host}:${server.port}/postgres`).open();
    const target = `postgres://${login}@${standby?.host}:${standby?.port}/postgres`;
    const refusal: Refusal = { code: "store_read_only", remedy: /primary/, secrets: [server.password] };
    await expectRefusal(() => storeAt(target).open(), refusal);
    await expectRefusal(() => storeAt(target, { readOnly: true }).open(), refusal);
    await standby?.promote();
    await storeAt(target).open();
  });

  it("that has become a standby is noticed by a handle that only reads", { timeout }, async () => {
    await using server = await startPostgresServer({ standby: "asynchronous" });
    const { standby, user, password } = server;
    const [primary, other] = [server, standby!].map(({ host, port }) => poolOf({ host, port, user, password }));
    let leadsTo = primary!;
    const client: PostgresClient = { query: (query) => leadsTo.query(query) };
    await storeAt(client).open();
    const store = storeAt(client, { readOnly: true });
    await store.open();
    await store.getEpoch();
    await until("the standby has it all", async () => {
      const { rows } = await other!.query("SELECT to_regclass('rollcall.rollcall_environments') AS there");
      return rows[0]?.there !== null;
    });
    // The name leads to the former primary, which came back as a standby of the new one.
    leadsTo = other!;
    await expectRefusal(() => store.getEpoch(), { code: "store_unavailable", remedy: /standby/, secrets: [password] });
    leadsTo = primary!;
    await store.getEpoch();
  });

  it("that is too old is refused, and the oldest that is not is taken", async () => {
    await using proxy = await startTcpProxy(SERVER);
    const { rows } = await poolOf({}).query("SHOW server_version_num");
    const version = String(rows[0]?.server_version_num);
    const schema = newSchema();
    proxy.rewrite(version, `13${version.slice(2)}`);
    await expectRefusal(() => storeAt(urlOf(schema, { at: proxy })).open(), {
      code: "invalid_request",
      remedy: /14 or later/,
    });
    proxy.rewrite(version, "140000");
    await storeAt(urlOf(schema, { at: proxy })).open();
  });

  it("that PgBouncer cannot reach is not waited for", { timeout }, async () => {
    await using server = await startPostgresServer();
    await using bouncer = await startPgBouncer(server);
    const login = `${server.user}:${encodeURIComponent(server.password)}`;
    const store = storeAt(`postgres://${login}@${bouncer.host}:${bouncer.port}/postgres`, { timeoutMs: 1_000 });
    await store.open();
    await server.kill();
    const refusal: Refusal = { code: "store_unavailable", remedy: /repeat/, secrets: [server.password] };
    await expectRefusal(() => store.getEpoch(), refusal);
    await server.start();
    await until("it answers again", () => store.getEpoch());
  });
});

async function closedPort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await until("it listens", () => listener.listening);
  const address = listener.address();
  listener.close();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
