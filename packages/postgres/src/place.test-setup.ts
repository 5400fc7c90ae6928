// Schemas of a test's own on the shared server, and URLs to them.

import { randomUUID } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Address } from "@rollcall/conformance/containers";
import pg from "pg";
import { inject } from "vitest";
import { createPostgresStore } from "./index.js";
import { TABLE_RIGHTS } from "./schema.js";

export const SERVER = inject("postgresServer");

/** The superuser, who makes and removes what tests need. One for each file. */
export const admin = new pg.Pool({ ...SERVER, max: 2, allowExitOnIdle: true });

/** The URL of `schema` for a user, the superuser unless one is given. */
export function urlOf(
  schema: string,
  options: {
    readonly user?: string;
    readonly password?: string;
    readonly at?: Address;
    readonly more?: string;
  } = {},
): string {
  const { user = SERVER.user, password = SERVER.password, at = SERVER, more = "" } = options;
  const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
  return `postgres://${login}@${at.host}:${at.port}/${SERVER.database}?schema=${schema}${more}`;
}

/** A name that no other test uses. */
export function newSchema(): string {
  return `test_${randomUUID().replaceAll("-", "")}`;
}

export async function dropSchema(schema: string): Promise<void> {
  await admin.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`);
}

/** The statements of the PostgreSQL page that let a role sync, or only ask, in a schema that is there. */
export async function grantTo(role: string, schema: string, options: { readonly readOnly?: boolean } = {}) {
  await admin.query(`GRANT USAGE ON SCHEMA "${schema}" TO ${role}`);
  for (const [table, rights] of TABLE_RIGHTS) {
    const granted = options.readOnly === true ? ["SELECT"] : rights;
    await admin.query(`GRANT ${granted.join(", ")} ON "${schema}".${table} TO ${role}`);
  }
}

/** A file that holds `pem`, as the value of a parameter. */
export function caFile(pem: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "rollcall-postgres-")), "ca.pem");
  writeFileSync(file, pem);
  return encodeURIComponent(file);
}

/** A schema that its owner has made, in which `role` may sync. */
export async function schemaFor(role: string, options: { readonly readOnly?: boolean } = {}): Promise<string> {
  const schema = newSchema();
  const store = createPostgresStore(admin, { schema });
  await store.open();
  await store.close();
  await grantTo(role, schema, options);
  return schema;
}
