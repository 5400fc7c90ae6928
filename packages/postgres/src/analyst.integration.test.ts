// What analysts read: the view and the function for context hashes, joined with a table of users.

import { contextHash, createRollcall } from "@rollcall/core";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPostgresStore } from "./index.js";
import { admin, dropSchema, newSchema, SERVER } from "./place.test-setup.js";

const KEYS = ["ada", "grace", "ä", "日本", "\u{1f600}", "a'b\\c", "\\x61", " a", "a\nb", "x".repeat(1_024)];

const schema = newSchema();
const store = createPostgresStore(admin, { schema, environment: "production" });
const rollcall = createRollcall(store, { graceMs: 0 });
const analyst = new pg.Pool({ ...SERVER, user: "analyst", password: "analyst", max: 1 });

beforeAll(async () => {
  await store.open();
  await admin.query(`CREATE TABLE "${schema}".users (id text PRIMARY KEY, country text)`);
  for (const [index, key] of KEYS.entries())
    await admin.query(`INSERT INTO "${schema}".users VALUES ($1, $2)`, [key, index % 2 === 0 ? "DE" : "FR"]);
  // No more than the PostgreSQL page says.
  await admin.query(`CREATE ROLE analyst LOGIN PASSWORD 'analyst'`);
  await admin.query(`GRANT USAGE ON SCHEMA "${schema}" TO analyst`);
  await admin.query(`GRANT SELECT ON "${schema}".rollcall_memberships, "${schema}".users TO analyst`);
});

afterAll(async () => {
  await rollcall.close();
  await store.close();
  await analyst.end();
  await dropSchema(schema);
  await admin.query("DROP ROLE analyst");
});

/** The ids of the users in a list of a segment. */
async function usersIn(segment: string, list: string): Promise<string[]> {
  const { rows } = await analyst.query(
    `SELECT u.id FROM "${schema}".rollcall_memberships m
     JOIN "${schema}".users u ON "${schema}".rollcall_context_hash(u.id) = m.context_hash
     WHERE m.environment = 'production' AND m.segment = $1 AND m.context_kind = 'user' AND m.list = $2`,
    [segment, list],
  );
  return rows.map(({ id }) => String(id)).toSorted();
}

describe("an analyst", () => {
  it("gets the hash that core makes of a key", async () => {
    for (const key of KEYS) {
      const { rows } = await analyst.query(`SELECT "${schema}".rollcall_context_hash($1) AS hash`, [key]);
      expect(String(rows[0]?.hash).replaceAll("-", "")).toBe(Buffer.from(contextHash(key)!).toString("hex"));
    }
    const { rows } = await analyst.query(`SELECT "${schema}".rollcall_context_hash(NULL) AS hash`);
    expect(rows[0]?.hash).toBeNull();
  });

  it("joins the members of each list with a table of users", async () => {
    await rollcall.replace("people", { included: KEYS.slice(0, 7), excluded: KEYS.slice(7) });
    await rollcall.replace("others", { included: ["nobody that we know"] });
    expect(await usersIn("people", "included")).toEqual(KEYS.slice(0, 7).toSorted());
    expect(await usersIn("people", "excluded")).toEqual(KEYS.slice(7).toSorted());
    expect(await usersIn("others", "included")).toEqual([]);
  });

  it("sees merges and snapshots, and nothing of what they replace", async () => {
    await rollcall.replace("changing", { included: KEYS.slice(0, 5) });
    await rollcall.merge("changing", { add: KEYS.slice(6, 7), remove: KEYS.slice(0, 1) });
    expect(await usersIn("changing", "included")).toEqual([...KEYS.slice(1, 5), ...KEYS.slice(6, 7)].toSorted());
    await rollcall.replace("changing", { included: KEYS.slice(3, 6) });
    expect(await usersIn("changing", "included")).toEqual(KEYS.slice(3, 6).toSorted());
    await rollcall.deleteSegment("changing");
    expect(await usersIn("changing", "included")).toEqual([]);
  });

  it("sees neither the registry nor the members of sets, and writes nothing", async () => {
    for (const [statement, code] of [
      [`SELECT FROM "${schema}".rollcall_segments`, "42501"],
      [`SELECT FROM "${schema}".rollcall_blocks`, "42501"],
      // A view of a join takes no writes from anybody.
      [`DELETE FROM "${schema}".rollcall_memberships`, "55000"],
    ] as const)
      await expect(analyst.query(statement)).rejects.toMatchObject({ code });
  });
});
