// The other side of the PostgreSQL benchmarks: one row for each membership, as one would write it: a composite primary key, COPY into
// a temporary table, and INSERT … ON CONFLICT DO NOTHING.

import { hash } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import { from as copyFrom } from "pg-copy-streams";
import type { KeyChange } from "./key-changes.js";
import { SCHEMAS } from "./measured-postgres.js";

/** A store of that layout. */
export interface MembershipRows {
  /** Adds all of `keys` to a segment. */
  add(segment: number, keys: AsyncIterable<readonly string[]>): Promise<void>;
  apply(segment: number, changes: readonly KeyChange[]): Promise<void>;
  /** One change in a transaction of its own. */
  applyOne(segment: number, change: KeyChange): Promise<void>;
  /** The segments of a context. */
  membership(key: string): Promise<Set<number>>;
  close(): Promise<void>;
}

const TABLE = `${SCHEMAS.rows}.memberships`;

/** Connects to `url`, with as many connections as a pool of pg has unless told otherwise. */
export async function openMembershipRows(url: string): Promise<MembershipRows> {
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  await pool.query(`CREATE SCHEMA IF NOT EXISTS ${SCHEMAS.rows}`);
  await pool.query(
    `CREATE TABLE IF NOT EXISTS ${TABLE} (context_hash uuid, segment int, PRIMARY KEY (context_hash, segment))`,
  );

  async function inTransaction(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      await work(client);
      await client.query("COMMIT");
    } finally {
      client.release();
    }
  }

  return {
    add: (segment, keys) =>
      inTransaction(async (client) => {
        await client.query("CREATE TEMP TABLE incoming (context_hash uuid) ON COMMIT DROP");
        await pipeline(Readable.from(lines(keys)), client.query(copyFrom("COPY incoming FROM STDIN")));
        await client.query(
          `INSERT INTO ${TABLE} (context_hash, segment) SELECT context_hash, $1::int FROM incoming ON CONFLICT DO NOTHING`,
          [segment],
        );
      }),
    apply: (segment, changes) =>
      inTransaction(async (client) => {
        await client.query("CREATE TEMP TABLE incoming (context_hash uuid, gone boolean) ON COMMIT DROP");
        const text = changes.map(({ member, change }) => `${hashOf(member)}\t${change === "remove" ? "t" : "f"}\n`);
        await pipeline(Readable.from([text.join("")]), client.query(copyFrom("COPY incoming FROM STDIN")));
        await client.query(
          `DELETE FROM ${TABLE} m USING incoming i WHERE i.gone AND m.context_hash = i.context_hash AND m.segment = $1`,
          [segment],
        );
        await client.query(
          `INSERT INTO ${TABLE} (context_hash, segment)
           SELECT context_hash, $1::int FROM incoming WHERE NOT gone ON CONFLICT DO NOTHING`,
          [segment],
        );
      }),
    async applyOne(segment, { member, change }) {
      const statement =
        change === "add"
          ? `INSERT INTO ${TABLE} (context_hash, segment) VALUES ($1, $2) ON CONFLICT DO NOTHING`
          : `DELETE FROM ${TABLE} WHERE context_hash = $1 AND segment = $2`;
      await pool.query(statement, [hashOf(member), segment]);
    },
    async membership(key) {
      const { rows } = await pool.query(membershipQuery(key));
      return new Set(rows.map(({ segment }) => Number(segment)));
    },
    close: () => pool.end(),
  };
}

/** Which segments a context is in, by the primary key. */
export function membershipQuery(key: string) {
  return { text: `SELECT segment FROM ${TABLE} WHERE context_hash = $1`, values: [hashOf(key)] };
}

async function* lines(keys: AsyncIterable<readonly string[]>): AsyncGenerator<string> {
  for await (const batch of keys) {
    let text = "";
    for (const key of batch) text += `${hashOf(key)}\n`;
    yield text;
  }
}

/** A uuid without dashes. */
function hashOf(key: string): string {
  return hash("sha256", key, "hex").slice(0, 32);
}
