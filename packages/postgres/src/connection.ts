// Talking to PostgreSQL: one statement at a time over whatever client there is, bounded in time, no error in its own words.
// Each statement is a transaction of its own, so any connection will do for the next, and a pooler may choose it.

import { createHash } from "node:crypto";
import { type HandleState, isRollcallError, RollcallError, requireOpen } from "@rollcall/core";
import { isForgotten, storeError } from "./native-error.js";

/** What is needed of a client: a `Pool` or a `Client` of pg 8, or anything else with this method. It must not resend. */
export interface PostgresClient {
  query(query: {
    readonly text: string;
    readonly values?: unknown[];
    /** What the statement is prepared under on its connection. A client may leave that out. */
    readonly name?: string;
    /** Milliseconds, as pg knows it. */
    readonly query_timeout?: number;
  }): Promise<{ readonly rows: readonly unknown[] }>;
}

/** A row by the names of its columns. */
type Row = Readonly<Record<string, unknown>>;

/** How a statement is run. */
interface ReadOptions {
  /**
   * Whether to prepare it once for each connection, where they keep what was prepared. Only for one whose plan does not go by the size of a
   * table: it is kept too. Default `false`.
   */
  readonly prepared?: boolean;
}

/** Statements sent to the database. */
export interface Connection {
  /** Runs one statement and answers its rows. */
  read(text: string, values?: readonly unknown[], options?: ReadOptions): Promise<readonly Row[]>;
  /** The same for one that writes. @throws `store_read_only` if the options say so. */
  write(text: string, values?: readonly unknown[]): Promise<readonly Row[]>;
}

/** Wraps `client`. */
export function createConnection(
  client: PostgresClient,
  options: {
    readonly environment: string;
    readonly readOnly: boolean;
    readonly timeoutMs: number;
    /** Told when the client turns out to be closed by its owner. */
    readonly onClosed: () => void;
  },
): Connection {
  const { environment, readOnly, timeoutMs, onClosed } = options;

  /** Whether the next statement may come to a server process that does not know what was prepared: a pooler's, as a rule. */
  let forgets = false;

  async function run(
    text: string,
    values: readonly unknown[] = [],
    options: ReadOptions = {},
  ): Promise<readonly Row[]> {
    const name = options.prepared === true && !forgets ? nameOf(text) : undefined;
    try {
      const { rows } = await client.query({
        text,
        query_timeout: timeoutMs,
        // Without values pg takes the simple protocol.
        ...(values.length === 0 ? {} : { values: [...values] }),
        ...(name === undefined ? {} : { name }),
      });
      return rows as readonly Row[];
    } catch (cause) {
      if (name !== undefined && isForgotten(cause)) {
        forgets = true;
        return run(text, values);
      }
      const error = storeError(cause, environment);
      if (isRollcallError(error, "closed")) onClosed();
      throw error;
    }
  }

  return {
    read: run,
    async write(text, values) {
      if (readOnly)
        throw new RollcallError("store_read_only", `the store of environment ${environment} was opened with readOnly`);
      return run(text, values);
    },
  };
}

const names = new Map<string, string>();

/** The same for the same text wherever it is prepared: a pooler may give one process to several handles. */
function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `rollcall_${createHash("sha256").update(text).digest("hex").slice(0, 32)}`;
    names.set(text, name);
  }
  return name;
}

/** `connection`, refused before it was opened and after it was closed. */
export function whileOpen(connection: Connection, environment: string, state: HandleState): Connection {
  const guarded =
    (run: Connection["read"]): Connection["read"] =>
    async (text, values, options) => {
      requireOpen(environment, state);
      return run(text, values, options);
    };
  return { read: guarded(connection.read), write: guarded(connection.write) };
}
