// The options of a store, from the caller and from a URL, checked and with their defaults.

import { RollcallError, requireKnownOptions } from "@rollcall/core";

/** Options of {@link createDynamoDbStore}. */
export interface DynamoDbStoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string | undefined;
  /** Opens what exists and writes nothing; writes throw `store_read_only`. Default `false`. */
  readonly readOnly?: boolean | undefined;
  /** The table, by name or ARN. Default `rollcall`. */
  readonly table?: string | undefined;
  /** Makes the table if it is not there: on demand, or as told. Default `false`: it has to be there. */
  readonly createTable?: boolean | TableOptions | undefined;
  /**
   * How members are read by lookups. `eventual` costs half, and may answer as it was shortly before, usually less than a second: a member of
   * a block that was just written may be missing, also right after a snapshot. Records are read strongly always. Default `strong`.
   */
  readonly lookups?: "strong" | "eventual" | undefined;
  /** How long a request may take, in milliseconds, before it fails with `store_unavailable`. Default 10,000. */
  readonly timeoutMs?: number | undefined;
}

/** What a table is made with. It is not changed where it is there already. */
export interface TableOptions {
  /** Units of provisioned capacity. Default: on demand. */
  readonly provisioned?: { readonly readUnits: number; readonly writeUnits: number } | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
  /** Backups from which any second of the last 35 days can be restored. Default `false`. */
  readonly pointInTimeRecovery?: boolean | undefined;
  /** Refuses to delete the table until that is switched off. Default `false`. */
  readonly deletionProtection?: boolean | undefined;
}

/** What `options` say, else `fromUrl`, else the defaults. @throws `invalid_request` that names the option. */
export function settingsOf(options: DynamoDbStoreOptions, fromUrl: DynamoDbStoreOptions) {
  requireKnownOptions(options, ["environment", "readOnly", "table", "createTable", "lookups", "timeoutMs"]);
  const createTable = options.createTable ?? fromUrl.createTable ?? false;
  const settings = {
    environment: options.environment ?? "default",
    // A URL for reading stays one, whoever opens it.
    readOnly: options.readOnly === true || fromUrl.readOnly === true,
    table: options.table ?? fromUrl.table ?? "rollcall",
    newTable: createTable === true ? {} : createTable === false ? undefined : createTable,
    lookups: options.lookups ?? fromUrl.lookups ?? "strong",
    timeoutMs: options.timeoutMs ?? fromUrl.timeoutMs ?? 10_000,
  };
  const { table, lookups, timeoutMs, newTable } = settings;
  if (!/^([A-Za-z0-9_.-]{3,255}|arn:[a-z-]+:dynamodb:[a-z0-9-]+:\d+:table\/[A-Za-z0-9_.-]{3,255})$/.test(table))
    throw invalid("table must be 3 to 255 letters, digits, '_', '-' or '.', or the ARN of a table");
  if (lookups !== "strong" && lookups !== "eventual") throw invalid("lookups must be strong or eventual");
  if (!(timeoutMs >= 1 && timeoutMs < 2 ** 31)) throw invalid("timeoutMs must be a number of milliseconds from 1 on");
  for (const units of Object.values(newTable?.provisioned ?? {})) {
    if (!(Number.isSafeInteger(units) && units >= 1))
      throw invalid("createTable.provisioned must hold whole numbers of units from 1 on");
  }
  return settings;
}

function invalid(message: string): RollcallError {
  return new RollcallError("invalid_request", message);
}
