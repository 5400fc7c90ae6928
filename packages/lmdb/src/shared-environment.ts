// One LMDB environment per process and folder, shared by all handles on it. Opening a second one takes LMDB's writer lock on
// the main thread, and a write under way holds that lock until the main thread runs its callback: both would wait for ever.

import { realpath } from "node:fs/promises";
import { RollcallError } from "@rollcall/core";
import { type Database, type DatabaseOptions, type Key, open, type RootDatabase } from "lmdb";
import { usedShardBits } from "./recent-changes.js";
import type { RegistryKey } from "./registry-key.js";

/** The tables of an environment. */
export interface Tables {
  readonly root: RootDatabase<unknown, string>;
  /** Shard records by `recordKey`. */
  readonly members: Database<Uint8Array, number>;
  /** Records of recent changes by `groupKey`. */
  readonly recent: Database<Uint8Array, number>;
  /** Everything else, as JSON text. */
  readonly registry: Database<string, RegistryKey>;
}

/** What a handle holds of a shared environment. */
export interface EnvironmentLease {
  /** The tables, in a state not older than the newest write that was acknowledged anywhere before the call. */
  freshTables(): Tables;
  /** The `usedShardBits` of that state. */
  usedShardBits(): number;
  /** Says that a write of this process has been acknowledged. */
  expire(): void;
  /** The tables, for writing. */
  tables(): Tables;
  /** Gives the environment back; the last one closes it, after the writes under way. */
  release(): Promise<void>;
}

export interface EnvironmentOptions {
  readonly readOnly: boolean;
  readonly mapSizeBytes: number | undefined;
}

interface Shared {
  tables: Tables;
  readOnly: boolean;
  handles: number;
  /** When the read snapshot was taken, on the monotonic clock, or earlier. */
  renewedAt: number;
  usedShardBits: number;
  closing: Promise<void> | undefined;
}

/**
 * How long a read snapshot is used again, in milliseconds. A write that was acknowledged elsewhere after the snapshot was
 * taken needs longer than this to be heard of: its thread has to be woken, its promise run, and a message passed. Renewing
 * on every read costs as much as the read.
 */
const SNAPSHOT_MS = 0.01;

/** LMDB's own default of 126 is few for a host that runs many workers; a slot costs 64 bytes. */
const MAX_READERS = 1_024;

const environments = new Map<string, Shared>();

/** Opens the environment in `folder`, which exists, or joins the handles that have it open. */
export async function leaseEnvironment(folder: string, options: EnvironmentOptions): Promise<EnvironmentLease> {
  const path = await realpath(folder);
  let shared = environments.get(path);
  while (shared?.closing !== undefined) {
    await shared.closing;
    shared = environments.get(path);
  }
  if (shared === undefined) {
    shared = {
      tables: openTables(path, options),
      ...options,
      handles: 0,
      renewedAt: -1,
      usedShardBits: 0,
      closing: undefined,
    };
    environments.set(path, shared);
  }
  shared.handles++;
  const lease = createLease(shared, path);
  if (shared.readOnly && !options.readOnly) {
    try {
      await reopenForWriting(shared, path, options);
    } catch (error) {
      await lease.release();
      throw error;
    }
  }
  return lease;
}

function createLease(shared: Shared, path: string): EnvironmentLease {
  return {
    tables: () => shared.tables,
    freshTables() {
      const now = performance.now();
      if (now - shared.renewedAt > SNAPSHOT_MS) {
        shared.tables.root.resetReadTxn();
        shared.usedShardBits = usedShardBits(shared.tables);
        shared.renewedAt = now;
      }
      return shared.tables;
    },
    usedShardBits: () => shared.usedShardBits,
    expire() {
      shared.renewedAt = -1;
    },
    async release() {
      if (--shared.handles > 0) return;
      shared.closing = shared.tables.root.close().finally(() => environments.delete(path));
      await shared.closing;
    },
  };
}

function openTables(path: string, { readOnly, mapSizeBytes }: EnvironmentOptions): Tables {
  const root = open<unknown, string>({
    path,
    noSubdir: false,
    readOnly,
    maxDbs: 3,
    maxReaders: MAX_READERS,
    ...(mapSizeBytes === undefined ? {} : { mapSize: mapSizeBytes }),
    // With it a commit would be seen before it is on disk, and a write would have to wait for a second promise.
    overlappingSync: false,
    // With it a failed commit rejects a promise that nobody holds, which ends the process.
    eventTurnBatching: false,
  });
  try {
    return {
      root,
      members: openTable<Uint8Array, number>(root, { name: "members", keyEncoding: "uint32", encoding: "binary" }),
      recent: openTable<Uint8Array, number>(root, { name: "recent", keyEncoding: "uint32", encoding: "binary" }),
      registry: openTable<string, RegistryKey>(root, { name: "registry", encoding: "string" }),
    };
  } catch (error) {
    void root.close();
    throw error;
  }
}

function openTable<Value, K extends Key>(
  root: RootDatabase<unknown, string>,
  options: DatabaseOptions & { readonly name: string },
): Database<Value, K> {
  // Nothing comes back, whatever the type says, where a reader asks for a table that does not exist yet.
  const table: Database<Value, K> | undefined = root.openDB<Value, K>(options);
  if (table !== undefined) return table;
  throw new RollcallError("store_read_only", "nothing was written into the environment yet; open it for writing once");
}

/** LMDB has one mode per process and file. No write can be under way, and reads finish within their turn. */
async function reopenForWriting(shared: Shared, path: string, options: EnvironmentOptions): Promise<void> {
  const closed = shared.tables.root.close();
  try {
    shared.tables = openTables(path, options);
    shared.readOnly = false;
    shared.renewedAt = -1;
  } catch (error) {
    shared.tables = openTables(path, { ...options, readOnly: true });
    throw error;
  } finally {
    await closed;
  }
}
