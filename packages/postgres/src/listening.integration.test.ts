// What the contract cannot see of listening: that it goes on after a connection broke, keeps away from poolers, and leaves no
// connection behind. Readers poll once an hour unless a test says otherwise: what they see in time they were told of.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { startPgBouncer, startTcpProxy, until } from "@rollcall/conformance/containers";
import { createRollcall, createSegmentReader, type SegmentReaderOptions, type SegmentStore } from "@rollcall/core";
import pg from "pg";
import { afterEach, beforeEach, expect, it } from "vitest";
import { channelOf } from "./epoch-channel.js";
import { createPostgresStore, type PostgresClient, type PostgresStoreOptions } from "./index.js";
import { admin, dropSchema, newSchema, SERVER, urlOf } from "./place.test-setup.js";

const HOUR = 3_600_000;

let schema = "";
let channel = "";
beforeEach(() => {
  schema = newSchema();
  channel = channelOf(schema, "default");
});
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await dropSchema(schema);
});

async function openStore(target: PostgresClient | string = urlOf(schema), options: PostgresStoreOptions = {}) {
  const store = createPostgresStore(target, typeof target === "string" ? options : { schema, ...options });
  cleanups.push(() => store.close());
  await store.open();
  return store;
}

function openPool(config: pg.PoolConfig = {}): pg.Pool {
  const pool = new pg.Pool({ ...SERVER, max: 4, ...config });
  pool.on("error", () => {});
  cleanups.push(() => (pool.ending ? undefined : pool.end()));
  return pool;
}

function readerOn(store: SegmentStore, options: Partial<SegmentReaderOptions> = {}) {
  const reader = createSegmentReader({ store, pollMs: HOUR, maxRegistryAgeMs: 2 * HOUR, ...options });
  cleanups.push(() => reader.close());
  return { ...reader, has: async (key: string) => (await reader.isMember("s", { kind: "user", key })).member };
}
type Reader = ReturnType<typeof readerOn>;

/** Another handle, with a pool of its own, which replaces the segment's members by one. */
async function openWriter() {
  const rollcall = createRollcall(await openStore());
  cleanups.push(() => rollcall.close());
  return (key: string) => rollcall.replace("s", { included: [key] });
}

async function sees(reader: Reader, key: string): Promise<void> {
  await until(`the reader sees ${key}`, () => reader.has(key));
}

/** The server processes that listen to this test's channel, and do nothing else. */
async function listeners(): Promise<number[]> {
  const { rows } = await admin.query("SELECT pid FROM pg_stat_activity WHERE query = $1", [`LISTEN "${channel}"`]);
  return rows.map(({ pid }) => Number(pid));
}

async function listener(): Promise<number> {
  return await until("somebody listens", async () => (await listeners())[0]);
}

async function nobodyListens(): Promise<void> {
  await until("nobody listens", async () => (await listeners()).length === 0);
}

it.each([
  ["a URL", () => urlOf(schema)],
  ["a pool", () => openPool()],
  ["a pool of one connection", () => openPool({ max: 1 })],
  ["a pool by connection string", () => openPool({ connectionString: urlOf(schema).replace(/\?.*/, "") })],
])("a reader on %s sees what others replace", async (_, target) => {
  const replace = await openWriter();
  await replace("ada");
  const reader = readerOn(await openStore(target()));
  expect(await reader.has("ada")).toBe(true);
  await listener();
  for (const next of ["grace", "ada", "grace"]) {
    await replace(next);
    await sees(reader, next);
  }
  expect(reader.stats().errors).toBe(0);
});

it("all readers of a store share one connection, until the last is closed", async () => {
  const replace = await openWriter();
  await replace("ada");
  const store = await openStore();
  const readers = [readerOn(store), readerOn(store), readerOn(store)];
  for (const reader of readers) await sees(reader, "ada");
  await listener();
  await replace("grace");
  for (const reader of readers) await sees(reader, "grace");
  expect(await listeners()).toHaveLength(1);
  readers[0]?.close();
  readers[1]?.close();
  await replace("ada");
  await sees(readers[2] as Reader, "ada");
  readers[2]?.close();
  await nobodyListens();
});

it("listens again after its connection was ended, and sees what it missed meanwhile", async () => {
  const replace = await openWriter();
  await replace("ada");
  const reader = readerOn(await openStore());
  await sees(reader, "ada");
  for (const [missed, next] of [
    ["grace", "edsger"],
    ["ada", "barbara"],
  ] as const) {
    const pid = await listener();
    await admin.query("SELECT pg_terminate_backend($1)", [pid]);
    await until("it is gone", async () => !(await listeners()).includes(pid));
    await replace(missed);
    await sees(reader, missed);
    await listener();
    await replace(next);
    await sees(reader, next);
  }
  expect(reader.stats().errors).toBe(2);
});

it("through PgBouncer no connection of the server listens, and a reader polls", async () => {
  // One, so that whatever a session was left in is met by the next.
  const bouncer = await startPgBouncer(SERVER as Parameters<typeof startPgBouncer>[0], { poolSize: 1 });
  cleanups.push(() => bouncer.stop());
  const replace = await openWriter();
  await replace("ada");
  const store = await openStore(urlOf(schema, { at: bouncer }));
  let told = 0;
  // It ends without a signal: there is nothing to hear.
  await store.watchEpoch?.(() => told++, new AbortController().signal);
  expect(store.watchEpoch).toBeDefined();
  expect(told).toBe(0);
  const reader = readerOn(store, { pollMs: 100 });
  await sees(reader, "ada");
  await replace("grace");
  await sees(reader, "grace");
  const pool = openPool({ host: bouncer.host, port: bouncer.port });
  const { rows } = await pool.query("SELECT pg_listening_channels() AS channel");
  expect(rows).toEqual([]);
  expect(await listeners()).toEqual([]);
  expect(reader.stats().errors).toBe(0);
});

it.each<[string, (store: SegmentStore, reader: Reader, pool: pg.Pool) => unknown]>([
  ["the reader is closed", (_, reader) => reader.close()],
  ["the store is closed", (store) => store.close()],
  ["the pool is ended by its owner", (_store, _reader, pool) => pool.end()],
])("no connection is left when %s", async (_, end) => {
  const replace = await openWriter();
  await replace("ada");
  const pool = openPool();
  const store = await openStore(pool);
  const reader = readerOn(store, { pollMs: 100 });
  await sees(reader, "ada");
  await listener();
  await end(store, reader, pool);
  await nobodyListens();
});

it("no connection is left when a store is closed while it begins to listen", async () => {
  const pool = openPool({ application_name: schema });
  let listens = false;
  const begun = () => {
    listens = true;
  };
  // Later and later, until it listens.
  for (let turns = 1; !listens; turns *= 1.5) {
    const store = await openStore(pool);
    const watch = store.watchEpoch?.(begun, new AbortController().signal);
    for (let turn = 0; turn < turns && !listens; turn++) await new Promise(setImmediate);
    await store.close();
    await watch;
  }
  await pool.end();
  await until("no connection is left", async () => {
    const { rows } = await admin.query("SELECT FROM pg_stat_activity WHERE application_name = $1", [schema]);
    return rows.length === 0;
  });
});

it.each([
  ["with listen=false in the URL", () => openStore(urlOf(schema, { more: "&listen=false" }))],
  ["with the option", () => openStore(urlOf(schema, { more: "&listen=true" }), { listen: false })],
  ["on a client", async () => openStore(await openClient())],
  [
    "on anything else with a query",
    async () => {
      const pool = openPool();
      return openStore({ query: (query) => pool.query(query as pg.QueryConfig) });
    },
  ],
])("nothing listens %s, and a reader polls", async (_, open) => {
  const store = await open();
  expect(store.watchEpoch).toBeUndefined();
  const replace = await openWriter();
  await replace("ada");
  const reader = readerOn(store, { pollMs: 100 });
  await sees(reader, "ada");
  await replace("grace");
  await sees(reader, "grace");
  expect(await listeners()).toEqual([]);
});

async function openClient(): Promise<pg.Client> {
  const client = new pg.Client({ ...SERVER });
  await client.connect();
  cleanups.push(() => client.end());
  return client;
}

it("a write notifies once, with nothing in it, and not where no answer changes or with listen=false", async () => {
  const client = await openClient();
  const heard: (string | undefined)[] = [];
  client.on("notification", (message) => heard.push(message.payload));
  await client.query(`LISTEN "${channel}"`);
  const rollcall = createRollcall(await openStore());
  const silent = createRollcall(await openStore(urlOf(schema, { more: "&listen=false" })));
  cleanups.push(() => Promise.all([rollcall.close(), silent.close()]));
  // A segment that is there, and one that was synced.
  await rollcall.replace("s", { included: ["ada"] });
  await rollcall.merge("s", { add: ["grace"] });
  await silent.replace("s", { included: ["edsger"] }, { allowShrink: true });
  await rollcall.replace("s", { included: ["ada"] });
  // What was notified before comes before the answer.
  await client.query("SELECT 1");
  expect(heard).toEqual(["", "", ""]);
});

it("a server that is silent ends a watch in time, and holds up no close", async () => {
  await using proxy = await startTcpProxy(SERVER);
  const store = await openStore(urlOf(schema, { at: proxy }), { timeoutMs: 1_000 });
  let watch: Promise<void> | undefined;
  await new Promise<void>((resolve) => {
    watch = store.watchEpoch?.(resolve, new AbortController().signal);
  });
  proxy.freeze();
  await expect(store.watchEpoch?.(() => {}, new AbortController().signal)).rejects.toMatchObject({
    code: "store_unavailable",
  });
  await store.close();
  await watch;
});

it("does not keep a process alive", async () => {
  const replace = await openWriter();
  await replace("ada");
  const program = `
    import pg from "pg";
    import { createPostgresStore } from "./dist/index.js";
    const pool = new pg.Pool({ ...JSON.parse(process.env.SERVER), allowExitOnIdle: true });
    const store = createPostgresStore(pool, { schema: "${schema}" });
    await store.open();
    const hour = setTimeout(() => {}, ${HOUR});
    store.watchEpoch(() => {
      console.log("listens");
      clearTimeout(hour);
    }, new AbortController().signal);`;
  const { stdout } = await promisify(execFile)("node", ["--input-type=module", "--eval", program], {
    env: { ...process.env, SERVER: JSON.stringify(SERVER) },
    timeout: 20_000,
  });
  expect(stdout).toBe("listens\n");
});
