// Talking to PostgreSQL: one statement at a time over whatever client there is, bounded in time, no error in its own words.
// Each statement is a transaction of its own, so any connection will do for the next, and a pooler may choose it.

import { handleNotOpen, isRollcallError, RollcallError } from "@rollcall/core";
import { storeError } from "./native-error.js";

/** What is needed of a client: a `Pool` or a `Client` of pg 8, or anything else with this method. It must not resend. */
export interface PostgresClient {
  query(query: {
    readonly text: string;
    readonly values?: unknown[];
    /** Milliseconds, as pg knows it. */
    readonly query_timeout?: number;
  }): Promise<{ readonly rows: readonly unknown[] }>;
}

/** A row by the names of its columns. */
type Row = Readonly<Record<string, unknown>>;

/** Statements sent to the database. */
export interface Connection {
  /** Runs one statement and answers its rows. */
  read(text: string, values?: readonly unknown[]): Promise<readonly Row[]>;
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

  async function run(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    try {
      // Without values pg takes the simple protocol. No name: a pooler may give the next statement to another server process.
      const statement = { text, query_timeout: timeoutMs, ...(values.length === 0 ? {} : { values: [...values] }) };
      const { rows } = await client.query(statement);
      return rows as readonly Row[];
    } catch (cause) {
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

/** Whether a handle may be used. */
export interface HandleState {
  opened: boolean;
  closed: boolean;
}

/** @throws `closed` before a handle was opened and after it was closed. */
export function requireOpen(environment: string, { opened, closed }: HandleState): void {
  if (!opened || closed) throw handleNotOpen(environment, closed ? "closed" : "not opened");
}

/** `connection`, refused before it was opened and after it was closed. */
export function whileOpen(connection: Connection, environment: string, state: HandleState): Connection {
  const guarded =
    (run: Connection["read"]): Connection["read"] =>
    async (text, values) => {
      requireOpen(environment, state);
      return run(text, values);
    };
  return { read: guarded(connection.read), write: guarded(connection.write) };
}
