// A schema that cannot be used: rights that are missing, each by its name; what is another program's; layouts of a later day.

import { randomUUID } from "node:crypto";
import { expectRefusal } from "@rollcall/conformance";
import { createRollcall, createSegmentReader, type SegmentStore } from "@rollcall/core";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createPostgresStore, type PostgresStoreOptions } from "./index.js";
import { admin, dropSchema, grantTo, newSchema, SERVER, schemaFor } from "./place.test-setup.js";
import { TABLE_RIGHTS } from "./schema.js";

/** A user of this file's own, who owns nothing. */
const role = `role_${randomUUID().replaceAll("-", "")}`;
const password = "n0t/to@be:shown";
const secrets = [password];
const pool = new pg.Pool({ ...SERVER, user: role, password, max: 4 });
const schemas: string[] = [];

beforeAll(() => admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`));
afterEach(async () => {
  for (const schema of schemas.splice(0)) await dropSchema(schema);
});
afterAll(async () => {
  await pool.end();
  await admin.query(`DROP OWNED BY ${role}`);
  await admin.query(`DROP ROLE ${role}`);
});

function freshSchema(): string {
  const schema = newSchema();
  schemas.push(schema);
  return schema;
}

async function schemaWith(options: { readonly readOnly?: boolean } = {}): Promise<string> {
  const schema = await schemaFor(role, options);
  schemas.push(schema);
  return schema;
}

function storeIn(schema: string, options: PostgresStoreOptions = {}): SegmentStore {
  return createPostgresStore(pool, { schema, ...options });
}

async function syncEverything(store: SegmentStore): Promise<void> {
  await store.open();
  const rollcall = createRollcall(store, { graceMs: 0 });
  await rollcall.replace("people", { included: ["ada", "linus"], excluded: ["bob"] });
  await rollcall.merge("people", { add: ["grace"], remove: ["linus"] });
  await rollcall.replace("people", { included: ["ada", "grace"] });
  expect((await rollcall.sweep()).droppedSets).toBe(1);
  expect((await rollcall.verify()).findings).toEqual([]);
  expect(await rollcall.getHistory("people")).toHaveLength(3);
  await rollcall.close();
}

describe("a role", () => {
  it("with the rights of the page syncs, and one of them does not create tables", async () => {
    const schema = await schemaWith();
    await syncEverything(storeIn(schema));
    await expect(pool.query(`CREATE TABLE "${schema}".mine (x int)`)).rejects.toMatchObject({ code: "42501" });
  });

  it("with the reader's rights reads, and does not write", async () => {
    const schema = await schemaWith({ readOnly: true });
    await syncEverything(createPostgresStore(admin, { schema }));
    const store = storeIn(schema, { readOnly: true });
    await store.open();
    const reader = createSegmentReader({ store, onError: "throw" });
    expect(await reader.isMember("people", { kind: "user", key: "ada" })).toMatchObject({ member: true });
    expect(await reader.isMember("people", { kind: "user", key: "bob" })).toMatchObject({ member: false });
    reader.close();
    await expectRefusal(() => createRollcall(store).merge("people", { add: ["eve"] }), {
      code: "store_read_only",
      remedy: /readOnly/,
    });
    await expectRefusal(() => storeIn(schema).open(), { code: "access_denied", remedy: /INSERT.*UPDATE/, secrets });
  });

  const rights = [...TABLE_RIGHTS].flatMap(([table, all]) => all.map((right) => [right, table] as const));
  it.each(rights)("without %s on %s is told which right it lacks", async (right, table) => {
    const schema = await schemaWith();
    await admin.query(`REVOKE ${right} ON "${schema}".${table} FROM ${role}`);
    const remedy = new RegExp(`lacks ${right} on .*${table}.*grant`);
    await expectRefusal(() => storeIn(schema).open(), { code: "access_denied", remedy, secrets });
    await admin.query(`GRANT ${right} ON "${schema}".${table} TO ${role}`);
    await storeIn(schema).open();
  });

  it.each(["rollcall_admit", "rollcall_filter", "rollcall_write_block", "rollcall_find", "rollcall_find_one"])(
    "that may not call %s is told so",
    async (name) => {
      const schema = await schemaWith();
      await admin.query(`REVOKE EXECUTE ON FUNCTION "${schema}".${name} FROM PUBLIC`);
      const remedy = new RegExp(`EXECUTE on ${name}`);
      await expectRefusal(() => storeIn(schema).open(), { code: "access_denied", remedy, secrets });
    },
  );

  it("that may not use the schema is told so", async () => {
    const schema = await schemaWith();
    await admin.query(`REVOKE USAGE ON SCHEMA "${schema}" FROM ${role}`);
    const remedy = new RegExp(`USAGE on schema ${schema}`);
    await expectRefusal(() => storeIn(schema).open(), { code: "access_denied", remedy, secrets });
  });

  it("that may not create what is missing is told so", async () => {
    const schema = freshSchema();
    await expectRefusal(() => storeIn(schema).open(), { code: "access_denied", remedy: /CREATE on database/, secrets });
    await admin.query(`CREATE SCHEMA "${schema}"`);
    await admin.query(`GRANT USAGE ON SCHEMA "${schema}" TO ${role}`);
    const remedy = new RegExp(`CREATE on schema ${schema}`);
    await expectRefusal(() => storeIn(schema).open(), { code: "access_denied", remedy, secrets });
    await admin.query(`GRANT CREATE ON SCHEMA "${schema}" TO ${role}`);
    await syncEverything(storeIn(schema));
  });

  it("that loses a right meanwhile is told so", async () => {
    const schema = await schemaWith();
    const store = storeIn(schema);
    await store.open();
    await admin.query(`REVOKE SELECT ON "${schema}".rollcall_environments FROM ${role}`);
    await expectRefusal(() => store.getEpoch(), { code: "access_denied", remedy: /rollcall_environments/, secrets });
  });

  it("whose transactions are read-only is refused unless it only reads", async () => {
    const schema = await schemaWith();
    await syncEverything(storeIn(schema));
    const reading = new pg.Pool({
      ...SERVER,
      user: role,
      password,
      max: 1,
      options: "-c default_transaction_read_only=on",
    });
    const refusal = { code: "store_read_only", remedy: /default_transaction_read_only/, secrets } as const;
    await expectRefusal(() => createPostgresStore(reading, { schema }).open(), refusal);
    await createPostgresStore(reading, { schema, readOnly: true }).open();
    await reading.end();
  });
});

describe("a schema", () => {
  it.each([...TABLE_RIGHTS.keys(), "rollcall_memberships"])("with a foreign table %s is left alone", async (table) => {
    const schema = freshSchema();
    await admin.query(`CREATE SCHEMA "${schema}"`);
    await admin.query(`CREATE TABLE "${schema}".${table} (mine int)`);
    await admin.query(`INSERT INTO "${schema}".${table} VALUES (7)`);
    await expectRefusal(() => createPostgresStore(admin, { schema }).open(), {
      code: "layout_mismatch",
      remedy: /another schema/,
    });
    const { rows } = await admin.query("SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace", [schema]);
    expect(rows).toEqual([{ relname: table }]);
    expect((await admin.query(`SELECT * FROM "${schema}".${table}`)).rows).toEqual([{ mine: 7 }]);
  });

  it.each([
    ["type", (name: string) => `CREATE TYPE ${name} AS ENUM ('mine')`, "rollcall_blocks"],
    ["sequence", (name: string) => `CREATE SEQUENCE ${name}`, "rollcall_segments"],
    [
      "function",
      (name: string) =>
        `CREATE FUNCTION ${name}(text, bigint, text, bigint, bigint, text) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
      "rollcall_admit",
    ],
  ])("with a foreign %s of one of its names is left alone", async (_, create, name) => {
    const schema = freshSchema();
    await admin.query(`CREATE SCHEMA "${schema}"`);
    await admin.query(create(`"${schema}".${name}`));
    await expectRefusal(() => createPostgresStore(admin, { schema }).open(), {
      code: "layout_mismatch",
      remedy: /another schema/,
    });
    const { rows } = await admin.query(`SELECT to_regclass('"${schema}".rollcall_layout') AS made`);
    expect(rows).toEqual([{ made: null }]);
  });

  it("of a newer layout is refused", async () => {
    const schema = await schemaWith();
    await admin.query(`INSERT INTO "${schema}".rollcall_layout (version) VALUES (99)`);
    await expectRefusal(() => storeIn(schema).open(), { code: "layout_mismatch", remedy: /99.*upgrade/ });
  });

  it("whose tables were removed meanwhile says so", async () => {
    const schema = await schemaWith();
    const store = storeIn(schema);
    await store.open();
    await dropSchema(schema);
    await expectRefusal(() => store.getEpoch(), { code: "layout_mismatch", remedy: /restore/ });
  });

  it("that is not there is not made by one who only reads, and neither is an environment", async () => {
    const schema = freshSchema();
    const refusal = { code: "store_read_only", remedy: /open it for writing/ } as const;
    await expectRefusal(() => createPostgresStore(admin, { schema, readOnly: true }).open(), refusal);
    expect((await admin.query("SELECT FROM pg_namespace WHERE nspname = $1", [schema])).rows).toHaveLength(0);
    await createPostgresStore(admin, { schema }).open();
    const other = createPostgresStore(admin, { schema, readOnly: true, environment: "misspelt" });
    await expectRefusal(() => other.open(), refusal);
  });

  it("that was lent to other tables is shared with them", async () => {
    const schema = freshSchema();
    await admin.query(`CREATE SCHEMA "${schema}"`);
    await admin.query(`CREATE TABLE "${schema}".segments (mine int)`);
    await syncEverything(createPostgresStore(admin, { schema }));
    await grantTo(role, schema);
    await syncEverything(storeIn(schema, { environment: "other" }));
  });
});

describe("an option", () => {
  it.each<[name: string, options: PostgresStoreOptions]>([
    ["schema", { schema: "" }],
    ["schema", { schema: "a-b" }],
    ["schema", { schema: 'a"b' }],
    ["schema", { schema: "1a" }],
    ["schema", { schema: "PG_mine" }],
    ["timeoutMs", { timeoutMs: 0 }],
    ["timeoutMs", { timeoutMs: Number.NaN }],
    ["environment", { environment: "a b" }],
  ])("%s that is not valid is named", async (name, options) => {
    await expectRefusal(async () => createPostgresStore(pool, options), {
      code: "invalid_request",
      remedy: new RegExp(name),
    });
  });
});
