// Every promise of the port behind PgBouncer in transaction mode, through a pool of the caller's.
import { conformance } from "@rollcall/conformance";
import pg from "pg";
import { inject } from "vitest";
import { createPostgresStore } from "./index.js";
import { dropSchema, newSchema, urlOf } from "./place.test-setup.js";
import { FEWER_RUNS } from "./servers.test-setup.js";

const pool = new pg.Pool({ connectionString: urlOf("any", { at: inject("pgBouncer") }).replace(/\?.*/, "") });
async function createDatabase() {
  const schema = newSchema();
  const createStore = (environment: string) => createPostgresStore(pool, { environment, schema });
  return { createStore, dispose: () => dropSchema(schema) };
}

conformance("@rollcall/postgres behind PgBouncer", { createDatabase }, { runs: FEWER_RUNS });
