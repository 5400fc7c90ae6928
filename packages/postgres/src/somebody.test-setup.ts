// Somebody else with a transaction on Rollcall's tables, whom a sync has to wait for.

import { until } from "@rollcall/conformance/containers";
import pg from "pg";
import { SERVER } from "./place.test-setup.js";

export interface Somebody extends AsyncDisposable {
  /** Takes the last block of the newest set, which a sync that is under way has yet to write, and changes nothing of it. */
  takeLastBlock(): Promise<void>;
  /** Takes the fence of that set. */
  takeFence(): Promise<void>;
  /** Writes the fence of that set anew, as it was. */
  changeFence(): Promise<void>;
  /** Writes the record of the environment anew, as it was. */
  changeEnvironment(): Promise<void>;
  /** Resolves to the server processes that wait for this transaction, when there are any. */
  waiters(): Promise<number[]>;
  /** Resolves when a writer that takes a set over waits for a lock, of whomever. */
  takeoverWaits(): Promise<unknown>;
  commit(): Promise<void>;
  /** Undoes all of it, and lets go. */
  rollback(): Promise<void>;
}

/** Begins the transaction. */
export async function somebodyIn({ schema, environment }: { readonly schema: string; readonly environment: string }) {
  const client = new pg.Client(SERVER);
  const watcher = new pg.Client(SERVER);
  await client.connect();
  await watcher.connect();
  // Of two that wait for each other the one is undone that looks first: never this one.
  await client.query("SET deadlock_timeout = '1h'");
  await client.query("BEGIN");
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  const sets = `"${schema}".rollcall_member_sets`;
  const newest = `(SELECT max(id) FROM ${sets} WHERE environment = $1)`;
  const run = async (text: string) => {
    await client.query(text, [environment]);
  };
  const somebody: Somebody = {
    takeLastBlock: () =>
      run(`
        INSERT INTO "${schema}".rollcall_blocks AS b (set_id, shard, filter, members)
        SELECT id, 2 ^ shard_bits - 1, 0::bit(512), '{}' FROM ${sets} WHERE id = ${newest}
        ON CONFLICT (shard, set_id) DO UPDATE SET members = b.members`),
    takeFence: () => run(`SELECT FROM ${sets} WHERE id = ${newest} FOR UPDATE`),
    changeFence: () => run(`UPDATE ${sets} SET token = token WHERE id = ${newest}`),
    changeEnvironment: () => run(`UPDATE "${schema}".rollcall_environments SET record = record WHERE name = $1`),
    waiters: () =>
      until("somebody is waited for", async () => {
        const waiting = await watcher.query("SELECT pid FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))", [
          rows[0]?.pid,
        ]);
        return waiting.rows.length > 0 && waiting.rows.map(({ pid }) => Number(pid));
      }),
    takeoverWaits: () =>
      until("a takeover waits", async () => {
        const waiting = await watcher.query(
          "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT %rollcall_admit(%) AS refusal'",
        );
        return waiting.rows.length > 0;
      }),
    async commit() {
      await client.query("COMMIT");
    },
    async rollback() {
      await client.query("ROLLBACK");
    },
    async [Symbol.asyncDispose]() {
      await client.end();
      await watcher.end();
    },
  };
  return somebody;
}
