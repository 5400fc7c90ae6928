// How the fault tests reach their servers, and the roles by which they do.

import { randomUUID } from "node:crypto";
import type { Address } from "@rollcall/conformance/containers";
import type { FaultHarness } from "@rollcall/conformance/faults";
import { afterAll, beforeAll } from "vitest";
import { createPostgresStore } from "./index.js";
import { admin, dropSchema, newSchema, SERVER, schemaFor, urlOf } from "./place.test-setup.js";

/** A schema on the shared server, and how the suites of faults reach it. */
export interface SchemaHarness extends FaultHarness {
  readonly schema: string;
}

/** How the suites of faults that every server can have reach `server`. Their places are environments. */
export function reaching(
  server: () => Address,
  { schema, user, password }: { readonly schema: string; readonly user?: string; readonly password?: string },
): SchemaHarness {
  const login = { ...(user === undefined ? {} : { user }), ...(password === undefined ? {} : { password }) };
  return {
    schema,
    server,
    createStore: (at, { place, timeoutMs }) =>
      createPostgresStore(urlOf(schema, { ...login, at }), { environment: place, timeoutMs }),
  };
}

/** A schema of its own on the shared server for a group of tests. */
export function ownSchema(): SchemaHarness {
  const schema = newSchema();
  afterAll(() => dropSchema(schema));
  return reaching(() => SERVER, { schema });
}

/** The same, reached by a role that has these settings and may just sync. */
export function ownRole(settings: Readonly<Record<string, string>>, limits = ""): SchemaHarness & { role: string } {
  const role = `test_${randomUUID().replaceAll("-", "")}`;
  let schema = "";
  beforeAll(async () => {
    await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD '${role}' ${limits}`);
    for (const [name, value] of Object.entries(settings))
      await admin.query(`ALTER ROLE ${role} SET ${name} = '${value}'`);
    schema = await schemaFor(role);
  });
  afterAll(async () => {
    await dropSchema(schema);
    await admin.query(`DROP ROLE ${role}`);
  });
  return {
    role,
    get schema() {
      return schema;
    },
    server: () => SERVER,
    createStore: (at, options) =>
      reaching(() => SERVER, { schema, user: role, password: role }).createStore(at, options),
  };
}

/** The codes of PostgreSQL in the causes of `errors`. */
export function sqlStates(errors: readonly unknown[]): string[] {
  return errors.map((error) => {
    const cause = error instanceof Error ? error.cause : undefined;
    return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
  });
}
