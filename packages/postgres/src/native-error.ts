// What PostgreSQL, pg and the network say, as Rollcall's errors: the one place where native errors are told apart.

import {
  type ErrorMeaning,
  handleNotOpen,
  isRollcallError,
  errorMeaning as meaning,
  nativeCode,
  networkMeanings,
  RollcallError,
} from "@rollcall/core";

const RIGHTS = meaning("access_denied", "this role lacks a right; grant it as the PostgreSQL page says");
const LOGIN = meaning("access_denied", "user name or password are wrong; correct them");
const NO_PASSWORD = meaning("access_denied", "the server wants a password; put one into the URL or the pool");
const REFUSED = meaning(
  "access_denied",
  "pg_hba.conf lets this user not into this database from here; add a line for it, or connect over TLS (sslmode=verify-full)",
);
const TLS_WANTED = meaning("access_denied", "the server takes this user over TLS only; use sslmode=verify-full");
const NOT_TLS = meaning("access_denied", "the server does not speak TLS; switch its ssl on, or use sslmode=disable");
const NO_DATABASE = meaning("invalid_request", "the database does not exist; create it, or correct the URL");
const FOREIGN = meaning(
  "layout_mismatch",
  "a table or function that is needed is missing, or is another program's; use another schema, or restore this one",
);
const UNREACHABLE = meaning("store_unavailable", "the connection broke or was never made; repeat when it is reachable");
/** Anything else that the server has said. */
const REFUSED_STATEMENT = meaning("store_unavailable", "the server refused the statement (see the cause); repeat");
const SHUT_DOWN = meaning("store_unavailable", "the server is starting, stopping or taking over; repeat");
const CONFLICT = meaning(
  "store_unavailable",
  "the server undid this statement for another one (see the cause); repeat",
);
const BUSY = meaning(
  "store_unavailable",
  "no connection became free in time; give the pool more of them, let timeoutMs be longer, or check that the server answers",
);
const SLOW = meaning("store_unavailable", "the server did not answer within timeoutMs; check it, then repeat");

/** By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html), or by Node's error code. */
const MEANINGS: ReadonlyMap<string, ErrorMeaning> = new Map([
  ["2200H", meaning("store_full", "all numbers of member sets are used up; copy the environments into another schema")],
  [
    "22P05",
    meaning(
      "invalid_request",
      "the encoding of this database lacks a character; use a database whose encoding is UTF8",
    ),
  ],
  [
    "25006",
    meaning("store_unavailable", "the server became read-only, or a standby; repeat when it takes writes again"),
  ],
  ["28000", REFUSED],
  ["28P01", LOGIN],
  ["3D000", NO_DATABASE],
  ["3F000", FOREIGN],
  ["40001", CONFLICT],
  ["40P01", CONFLICT],
  ["42501", RIGHTS],
  ["42703", FOREIGN],
  ["42710", FOREIGN],
  ["42723", FOREIGN],
  ["42804", FOREIGN],
  ["42809", FOREIGN],
  ["42883", FOREIGN],
  ["42P01", FOREIGN],
  ["42P07", FOREIGN],
  ["53100", meaning("store_full", "the server's disk is full; free space, then repeat")],
  ["53200", meaning("store_unavailable", "the server is short of memory; repeat")],
  ["53300", meaning("store_unavailable", "the server has no connection left; raise max_connections or use fewer")],
  [
    "54000",
    meaning(
      "store_unavailable",
      "a limit of the server is reached; if it is the NOTIFY queue (see the cause), end the session that listens and stays in a transaction, or open with listen=false",
    ),
  ],
  ["55P03", CONFLICT],
  ["57014", meaning("store_unavailable", "statement_timeout, or a person, ended the statement; raise it, then repeat")],
  ["57P01", SHUT_DOWN],
  ["57P02", SHUT_DOWN],
  ["57P03", SHUT_DOWN],
  ["XX001", meaning("corrupt_data", "the server found damaged data; restore it from a copy")],
  ["XX002", meaning("corrupt_data", "the server found a damaged index; REINDEX it, or restore from a copy")],
  ...networkMeanings("name its authority (sslrootcert=file in the URL)"),
]);

/** By message: pg gives its own errors no code, and the server several meanings one code. */
const BY_MESSAGE: readonly (readonly [RegExp, ErrorMeaning])[] = [
  [/no pg_hba\.conf entry .*(?:no encryption|SSL off)|SSL required/i, TLS_WANTED],
  [/password must be a (?:non-empty )?string|no password supplied/i, NO_PASSWORD],
  [/does not support SSL/i, NOT_TLS],
  // PgBouncer says these with the code of a broken protocol.
  [/no such database/i, NO_DATABASE],
  [/no such user|authentication failed/i, LOGIN],
  [/query read timeout|connection timeout|timeout expired/i, SLOW],
  [/timeout exceeded when trying to connect|query_wait_timeout/i, BUSY],
];

/** Five characters, and not all of them letters as in Node's `EPIPE`; 08 is what became of a connection. */
const SQLSTATE = /^(?!08)(?=.*\d)[0-9A-Z]{5}$/;

/** What pg says when its owner has ended the pool or the client. */
const CLOSED = /Cannot use a pool after calling end|Client was closed and is not queryable/;

/** Whether the server process did not know what was prepared, or knew it though it was new to the client; nothing was run. */
export function isForgotten(cause: unknown): boolean {
  return ["26000", "42P05"].includes(nativeCode(cause));
}

/** The error to throw instead of `cause`; one that is a `RollcallError` already stays as it is. */
export function storeError(cause: unknown, environment: string): RollcallError {
  if (isRollcallError(cause)) return cause;
  const message = cause instanceof Error ? cause.message : "";
  if (CLOSED.test(message)) return handleNotOpen(environment, "closed");
  const { code, what } = meaningOf(cause, message);
  // PostgreSQL names what the role may not touch, and no value.
  const detail = what === RIGHTS.what || what === FOREIGN.what ? ` (${message})` : "";
  return new RollcallError(code, `PostgreSQL: ${what}${detail}`, { cause });
}

function meaningOf(cause: unknown, message: string): ErrorMeaning {
  const spoken = BY_MESSAGE.find(([words]) => words.test(message))?.[1];
  if (spoken !== undefined) return spoken;
  const code = nativeCode(cause);
  return MEANINGS.get(code) ?? (SQLSTATE.test(code) ? REFUSED_STATEMENT : UNREACHABLE);
}
