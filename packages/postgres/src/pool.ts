// The pool of connections for a URL.

import { readFileSync } from "node:fs";
import { RollcallError } from "@rollcall/core";
import pg from "pg";
import type { PostgresUrl } from "./store-url.js";

/** A pool for what `url` names; it connects when it is first used. Waits for no connection longer than `timeoutMs`. */
export function poolFor(url: PostgresUrl, timeoutMs: number): pg.Pool {
  const { user, password, host, port, database, maxConnections } = url;
  const pool = new pg.Pool({
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(database === undefined ? {} : { database }),
    host,
    port,
    max: maxConnections,
    connectionTimeoutMillis: timeoutMs,
    application_name: "rollcall",
    keepAlive: true,
    ssl: tlsOptions(url),
  });
  // A connection that breaks while nobody uses it: the pool has dropped it already, and the next call gets another one.
  pool.on("error", () => {});
  return pool;
}

function tlsOptions({ host, sslMode, rootCertificate }: PostgresUrl) {
  if (sslMode === "disable") return false;
  if (sslMode === "require") return { rejectUnauthorized: false };
  // pg names the server only where it is no address, and then Node takes any certificate for `localhost`.
  const verified = { rejectUnauthorized: true, host };
  if (rootCertificate === undefined) return verified;
  try {
    return { ...verified, ca: readFileSync(rootCertificate, "utf8") };
  } catch (cause) {
    const message = `the file ${rootCertificate} of sslrootcert= cannot be read; name a PEM file`;
    throw new RollcallError("invalid_request", message, { cause });
  }
}
