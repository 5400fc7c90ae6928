// The PostgreSQL server that a benchmark measures, the same one for both sides, in a container of its own.

import pg from "pg";
import type { RunOptions } from "./benchmark.js";

/** A server that holds nothing but what a benchmark puts there. */
export interface MeasuredPostgres {
  readonly url: string;
  /** What the figures were measured on, for the notes. */
  readonly description: string;
  /** Removes everything. */
  empty(): Promise<void>;
}

/** Where each side keeps its tables. */
export const SCHEMAS = { rows: "bench_rows", rollcall: "rollcall" } as const;

/** Runs `work` with a server that flushes each commit, as a server of a user's does. */
export async function withPostgres<T>(
  { onProgress }: RunOptions,
  work: (server: MeasuredPostgres) => Promise<T>,
): Promise<T> {
  onProgress("starting a server");
  // Only here: who measures something else does without it.
  const { postgresImage, startPostgresServer } = await import("@rollcall/conformance/containers");
  const settings = { fsync: "on", shared_buffers: "1GB", max_wal_size: "8GB", checkpoint_timeout: "1h" };
  await using server = await startPostgresServer({ settings });
  const login = `${server.user}:${encodeURIComponent(server.password)}`;
  const urlAt = ({ host, port }: { readonly host: string; readonly port: number }) =>
    `postgres://${login}@${host}:${port}/${server.database}`;
  // Docker passes on what comes to a published port through a process of its own, which would take a core of both sides.
  const identity = await identityAt(urlAt(server));
  const isDirect = identity !== undefined && (await identityAt(urlAt(server.inner))) === identity;
  const url = urlAt(isDirect ? server.inner : server);
  const way = isDirect ? "reached at the container's own address" : "reached through Docker's proxy";
  const version = await server.psql("SHOW server_version");
  const shown = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  // Awaited here: the server must not be gone before the work has ended.
  return await work({
    url,
    description: `PostgreSQL ${version} in a container of ${postgresImage()}, ${shown.join(", ")}, ${way}`,
    async empty() {
      for (const schema of Object.values(SCHEMAS)) await server.psql(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
      await server.psql("CHECKPOINT");
    },
  });
}

async function identityAt(url: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  try {
    await client.connect();
    const { rows } = await client.query("SELECT system_identifier::text AS id FROM pg_control_system()");
    return String(rows[0]?.id);
  } catch {
    return undefined;
  } finally {
    await client.end().catch(() => {});
  }
}

/** What is in neither side's time: sizes, the log, checkpoints. */
export async function openObserver(url: string) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const number = async (text: string) => Number((await client.query(text)).rows[0]?.number);
  return {
    /** Bytes of all tables and indexes of a side. */
    bytesOf: (schema: string) =>
      number(
        `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) AS number FROM pg_class c
         WHERE c.relnamespace = to_regnamespace('${schema}') AND c.relkind = 'r'`,
      ),
    /** Bytes of the write-ahead log up to now. */
    logged: () => number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS number"),
    /** From now on the first change of each page is logged with the whole page. */
    checkpoint: () => client.query("CHECKPOINT"),
    /** Clears and counts what is there, so that neither side is measured while the server does that. */
    settle: (schema: string) =>
      client
        .query(
          `SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace('${schema}') AND c.relkind = 'r'`,
        )
        .then(async ({ rows }) => {
          for (const { relname } of rows) await client.query(`VACUUM ANALYZE ${schema}."${relname}"`);
        }),
    close: () => client.end(),
  };
}
