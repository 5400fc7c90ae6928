// What Redis, ioredis and the network say, as Rollcall's errors: the one place where native errors are told apart.

import {
  type ErrorMeaning,
  isRollcallError,
  errorMeaning as meaning,
  networkMeanings,
  RollcallError,
} from "@rollcall/core";

/** The last error of the connection: ioredis fails a command with "Connection is closed", and tells the reason in an event. */
export interface LastError {
  error: Error | undefined;
}

const RIGHTS = meaning("access_denied", "this user lacks a right; grant it as the Redis page says");

const MOVING = meaning("store_unavailable", "a slot is on its way to another node; repeat");

/** By the first word of a reply (`redis.io/docs/latest/develop/reference/protocol-spec`, "Simple errors"), or by Node's error code. */
const MEANINGS: ReadonlyMap<string, ErrorMeaning> = new Map([
  ["OOM", meaning("store_full", "maxmemory is reached; free memory or raise the limit, then repeat")],
  ["NOAUTH", meaning("access_denied", "the server wants a password; put one into the URL or the client")],
  ["WRONGPASS", meaning("access_denied", "user name or password are wrong; correct them")],
  ["NOPERM", RIGHTS],
  ["WRONGTYPE", meaning("layout_mismatch", "a key that is needed holds something else; use another prefix")],
  [
    "READONLY",
    meaning("store_unavailable", "the server became a replica; repeat when the client has found the new primary"),
  ],
  ["LOADING", meaning("store_unavailable", "the server is loading its data; repeat when it has finished")],
  ["BUSY", meaning("store_unavailable", "the server is busy with a script of someone else; repeat")],
  ["MASTERDOWN", meaning("store_unavailable", "the replica has lost its primary; repeat after the fail-over")],
  ["CLUSTERDOWN", meaning("store_unavailable", "the Cluster is not whole; repeat after the fail-over")],
  ["TRYAGAIN", MOVING],
  ["NOREPLICAS", meaning("store_unavailable", "fewer replicas than min-replicas-to-write; check them, then repeat")],
  ["MISCONF", meaning("store_unavailable", "the server cannot save to its disk; check it, then repeat")],
  ["MOVED", meaning("invalid_request", "the server is part of a Cluster; use redis+cluster: or a Cluster client")],
  ["CROSSSLOT", meaning("invalid_request", "the server is part of a Cluster; use redis+cluster: or a Cluster client")],
  ...networkMeanings("pass its CA (?ca=file in the URL)"),
]);

/** What Redis before 7.0 puts in front of an error that a script met. */
const OF_SCRIPT = /^ERR Error running script \(call to \w+\): (?:@user_script: ?\d+: )+-?/;
/** How Redis says that the user of a script lacks a right, by version. */
const SCRIPT_RIGHTS =
  /^ERR .*(?:executing the script can't (?:run this command|access at least one of the keys)|ACL failure in script)/;

const NO_DATABASE = meaning("invalid_request", "the server has no database of this number; choose another one");
const NO_SENTINEL = meaning(
  "invalid_request",
  "the server is no Sentinel; use redis: or a Redis client without sentinels",
);
const SINGLE_SERVER = meaning("invalid_request", "the server is not part of a Cluster; use redis: or a Redis client");
const NOT_TLS = meaning("access_denied", "the server does not speak TLS there; check the port, or use redis:");
const UNREACHABLE = meaning(
  "store_unavailable",
  "the server did not answer; repeat when it is reachable. If it is: rediss: is for ports that speak TLS, redis: for others, and Sentinels must know the name",
);

const UNKNOWN = meaning(
  "store_unavailable",
  "the server answered with an error that is not known here; look at the cause, then repeat",
);

/** The error to throw instead of `cause`; one that is a `RollcallError` already stays as it is. */
export function storeError(cause: unknown, lastError: LastError = { error: undefined }): RollcallError {
  if (isRollcallError(cause)) return cause;
  const known = meaningOf(cause);
  if (known !== undefined) return toRollcallError(known, cause);
  if (cause instanceof Error && cause.name === "ReplyError") return toRollcallError(UNKNOWN, cause);
  const reason = lastError.error;
  return toRollcallError(meaningOf(reason) ?? UNREACHABLE, reason ?? cause);
}

function toRollcallError({ code, what }: ErrorMeaning, cause: unknown): RollcallError {
  // Redis names the right that is missing, and never a value.
  const detail = what === RIGHTS.what && cause instanceof Error ? ` (${cause.message.trim()})` : "";
  return new RollcallError(code, `Redis: ${what}${detail}`, { cause: withoutArguments(cause) });
}

function meaningOf(error: unknown): ErrorMeaning | undefined {
  if (!(error instanceof Error)) return undefined;
  if (/DB index is out of range/i.test(error.message)) return NO_DATABASE;
  if (/cluster support disabled/i.test(error.message)) return SINGLE_SERVER;
  if (SCRIPT_RIGHTS.test(error.message)) return RIGHTS;
  if (/attempted to access a non local key|during rehashing of the slot/i.test(error.message)) return MOVING;
  if (/wrong version number|packet length too long/i.test(error.message)) return NOT_TLS;
  const own = MEANINGS.get(firstWord(error)) ?? ("code" in error ? MEANINGS.get(String(error.code)) : undefined);
  // A Cluster's client hides the reason of the last node in an error of its own.
  return own ?? ("lastNodeError" in error ? meaningOf(error.lastNodeError) : undefined) ?? hidden(error.message);
}

/** "Too many Cluster redirections. Last error: ReplyError: TRYAGAIN …", "All sentinels are unreachable … Last error: …". */
function hidden(message: string): ErrorMeaning | undefined {
  const last = /Last error: (?:[A-Za-z]*Error: )?(.*)$/s.exec(message)?.[1];
  if (last === undefined) return undefined;
  if (/^ERR unknown command ['`]sentinel/i.test(last)) return NO_SENTINEL;
  const known = MEANINGS.get(last.split(" ", 1)[0] ?? "") ?? UNREACHABLE;
  // A redirection that does not come to an end is a Cluster in motion, not a wrong URL.
  return known.code === "invalid_request" ? UNREACHABLE : known;
}

function firstWord(error: unknown): string {
  return error instanceof Error ? (error.message.replace(OF_SCRIPT, "").split(" ", 1)[0] ?? "") : "";
}

// ioredis hangs the command with all its arguments on an error: for AUTH and HELLO that is the password.
function withoutArguments(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const copy = new Error(error.message);
  copy.name = error.name;
  if (error.stack !== undefined) copy.stack = error.stack;
  return "code" in error ? Object.assign(copy, { code: error.code }) : copy;
}
