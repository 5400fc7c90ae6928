// Opening: what kind of server it is, whether the schema is Rollcall's and of this layout, and whether the role may do its work.

import { encodeEnvironment, newEnvironment, RollcallError } from "@rollcall/core";
import type { Connection } from "./connection.js";
import { LAYOUT, migration, TABLE_RIGHTS } from "./schema.js";

/** PostgreSQL 14, as the server writes it. */
const OLDEST_SERVER = 140_000;

/** Makes sure that the environment is there, and makes it unless `readOnly`. @throws whatever stands in the way, by its name. */
export async function openEnvironment(
  connection: Connection,
  options: { readonly environment: string; readonly schema: string; readonly readOnly: boolean },
): Promise<void> {
  const { environment, schema, readOnly } = options;
  await requireFitServer(connection, readOnly);
  const present = await layoutOf(connection, schema);
  if (present > LAYOUT)
    throw new RollcallError(
      "layout_mismatch",
      `PostgreSQL: schema ${schema} has layout ${present}, this version reads ${LAYOUT}; upgrade @rollcall/postgres`,
    );
  if (present < LAYOUT) {
    if (readOnly) throw missing(`schema ${schema} holds nothing of Rollcall's, or of an older version`);
    await requireRightToCreate(connection, schema);
    await makeUnlessThere(
      () => connection.write(migration(schema)),
      async () => (await layoutOf(connection, schema)) >= LAYOUT,
    );
  }
  await requireRights(connection, schema, readOnly);
  const isKnown = async () => {
    const known = await connection.read(`SELECT FROM "${schema}".rollcall_environments WHERE name = $1`, [environment]);
    return known.length > 0;
  };
  if (await isKnown()) return;
  if (readOnly) throw missing(`there is no environment ${environment} in schema ${schema}`);
  const record = newEnvironment();
  const insert = `INSERT INTO "${schema}".rollcall_environments (name, revision, record, epoch) VALUES ($1, $2, $3, $2) ON CONFLICT DO NOTHING`;
  await makeUnlessThere(
    () => connection.write(insert, [environment, record.revision, encodeEnvironment(record)]),
    isKnown,
  );
}

/** Where transactions are stricter than READ COMMITTED, one who has waited for another does not see what that one made, and fails on it. */
async function makeUnlessThere(make: () => Promise<unknown>, isThere: () => Promise<boolean>): Promise<void> {
  try {
    await make();
  } catch (error) {
    if (!(await isThere())) throw error;
  }
}

async function requireFitServer(connection: Connection, readOnly: boolean): Promise<void> {
  const [server] = await connection.read(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS called,
       pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::bool AS read_only`,
  );
  if (Number(server?.version) < OLDEST_SERVER)
    throw new RollcallError(
      "invalid_request",
      `PostgreSQL: the server is ${String(server?.called)}, and Rollcall needs 14 or later; upgrade it`,
    );
  if (server?.standby === true)
    throw new RollcallError(
      "store_read_only",
      "PostgreSQL: the server is a standby, which lags behind what was acknowledged; connect to the primary",
    );
  if (server?.read_only === true && !readOnly)
    throw new RollcallError(
      "store_read_only",
      "PostgreSQL: transactions of this role are read-only (default_transaction_read_only); switch that off, or open with readOnly",
    );
}

/** 0 where there is none. */
async function layoutOf(connection: Connection, schema: string): Promise<number> {
  // By the catalogue: without the right to use the schema nobody may ask for a table by its name.
  const [found] = await connection.read(
    `SELECT has_schema_privilege(n.oid, 'USAGE') AS usable, c.relkind::text AS kind,
       CASE WHEN c.oid IS NULL THEN NULL ELSE has_table_privilege(c.oid, 'SELECT') END AS readable
     FROM pg_catalog.pg_namespace n
     LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'rollcall_layout'
     WHERE n.nspname = $1`,
    [schema],
  );
  if (found === undefined) return 0;
  if (found.usable !== true) throw lacking([`USAGE on schema ${schema}`]);
  if (found.kind === null) return 0;
  if (found.readable !== true) throw lacking([`SELECT on ${schema}.rollcall_layout`]);
  const [layout] = await connection.read(`SELECT max(version) AS version FROM "${schema}".rollcall_layout`);
  const version = layout?.version;
  if (typeof version !== "number" || version < 1)
    throw new RollcallError(
      "layout_mismatch",
      `PostgreSQL: ${schema}.rollcall_layout is not Rollcall's; use another schema`,
    );
  return version;
}

async function requireRightToCreate(connection: Connection, schema: string): Promise<void> {
  const [right] = await connection.read(
    `SELECT current_database() AS database, n.oid IS NULL AS is_new,
       CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
         ELSE has_schema_privilege(n.oid, 'CREATE') END AS granted
     FROM (VALUES ($1::name)) AS wanted (name) LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name`,
    [schema],
  );
  if (right?.granted === true) return;
  const place = right?.is_new === true ? `database ${String(right.database)}` : `schema ${schema}`;
  throw lacking([`CREATE on ${place} (once: a role that has it may open the store first)`]);
}

async function requireRights(connection: Connection, schema: string, readOnly: boolean): Promise<void> {
  const needed = [...TABLE_RIGHTS].flatMap(([table, rights]) =>
    (readOnly ? ["SELECT"] : rights).map((right) => ({ table, right })),
  );
  const rows = await connection.read(
    `SELECT needed.right || ' on ' || needed.table AS lack
     FROM unnest($2::text[], $3::text[]) AS needed ("table", "right")
     JOIN pg_catalog.pg_class c ON c.relname = needed.table
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
     WHERE NOT has_table_privilege(c.oid, needed.right)
     UNION ALL
     SELECT 'EXECUTE on ' || p.proname
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace AND n.nspname = $1
     WHERE (p.proname IN ('rollcall_find', 'rollcall_find_one') OR p.proname IN ('rollcall_admit', 'rollcall_filter', 'rollcall_write_block') AND NOT $4)
       AND NOT has_function_privilege(p.oid, 'EXECUTE')`,
    [schema, needed.map(({ table }) => table), needed.map(({ right }) => right), readOnly],
  );
  if (rows.length > 0) throw lacking(rows.map(({ lack }) => `${String(lack)} in schema ${schema}`));
}

function lacking(rights: readonly string[]): RollcallError {
  return new RollcallError("access_denied", `PostgreSQL: this role lacks ${rights.join(", ")}; grant it`);
}

function missing(what: string): RollcallError {
  return new RollcallError(
    "store_read_only",
    `PostgreSQL: ${what}; check the names, or open it for writing once to make it`,
  );
}
