// The options of a store, from the caller and from a URL, checked and with their defaults.

import { RollcallError, requireKnownOptions } from "@rollcall/core";

/** Options of {@link createPostgresStore}. */
export interface PostgresStoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string | undefined;
  /** Opens what exists and writes nothing; writes throw `store_read_only`. Default `false`. */
  readonly readOnly?: boolean | undefined;
  /** The schema that holds the tables: 1 to 63 letters, digits and `_`, no digit first; case matters. Default `rollcall`. */
  readonly schema?: string | undefined;
  /** How long the server may take to answer, in milliseconds, before a call fails with `store_unavailable`. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * Whether readers of this handle listen for changes on a connection of their own, and its writes tell those who listen. Otherwise, through
   * a pooler, and where the client is no pool, they poll. Default `true`.
   */
  readonly listen?: boolean | undefined;
}

/** What `options` say, else `fromUrl`, else the defaults. @throws `invalid_request` that names the option. */
export function settingsOf(options: PostgresStoreOptions, fromUrl: PostgresStoreOptions) {
  requireKnownOptions(options, ["environment", "readOnly", "schema", "timeoutMs", "listen"]);
  const settings = {
    environment: options.environment ?? "default",
    // A URL for reading stays one, whoever opens it.
    readOnly: options.readOnly === true || fromUrl.readOnly === true,
    schema: options.schema ?? fromUrl.schema ?? "rollcall",
    timeoutMs: options.timeoutMs ?? fromUrl.timeoutMs ?? 10_000,
    listen: options.listen ?? fromUrl.listen ?? true,
  };
  const { schema, timeoutMs } = settings;
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(schema) || /^pg_/i.test(schema))
    throw invalid("schema must be 1 to 63 letters, digits and '_', begin with no digit and not with pg_");
  if (!(timeoutMs >= 1 && timeoutMs < 2 ** 31)) throw invalid("timeoutMs must be a number of milliseconds from 1 on");
  return settings;
}

function invalid(message: string): RollcallError {
  return new RollcallError("invalid_request", message);
}
