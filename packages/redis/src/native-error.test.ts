// Which code each error of Redis, ioredis, TLS and the network becomes, and that none of them carries a secret on.

import { RollcallError, type RollcallErrorCode } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { storeError } from "./native-error.js";

const DIGEST = "5e2a0d8d1a5c5f8a0ad3a1fb4b3e9f2a3b3c4d5e";
const NO_COMMAND = "The user executing the script can't run this command or subcommand";
const NO_KEY = "The user executing the script can't access at least one of the keys mentioned in the command arguments";

type Case = readonly [message: string, code: RollcallErrorCode, retryable: boolean];

describe("replies of Redis", () => {
  it.each<Case>([
    ["OOM command not allowed when used memory > 'maxmemory'.", "store_full", false],
    ["NOAUTH Authentication required.", "access_denied", false],
    ["WRONGPASS invalid username-password pair or user is disabled.", "access_denied", false],
    ["NOPERM this user has no permissions to run the 'hget' command", "access_denied", false],
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "layout_mismatch", false],
    ["READONLY You can't write against a read only replica.", "store_unavailable", true],
    ["LOADING Redis is loading the dataset in memory", "store_unavailable", true],
    [
      "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
      "store_unavailable",
      true,
    ],
    ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "store_unavailable", true],
    ["CLUSTERDOWN The cluster is down", "store_unavailable", true],
    ["TRYAGAIN Multiple keys request during rehashing of slot", "store_unavailable", true],
    ["NOREPLICAS Not enough good replicas to write.", "store_unavailable", true],
    [
      "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
      "store_unavailable",
      true,
    ],
    ["MOVED 3999 127.0.0.1:6381", "invalid_request", false],
    ["CROSSSLOT Keys in request don't hash to the same slot", "invalid_request", false],
    ["ERR This instance has cluster support disabled", "invalid_request", false],
    ["ERR anything else", "store_unavailable", true],
  ])("%s", (message, code, retryable) => {
    expect(storeError(replyError(message))).toMatchObject({ name: "RollcallError", code, retryable });
  });

  // An error inside of a script comes with the script behind it, and before Redis 7.0 in a sentence of the server's own.
  it.each<Case>([
    ["OOM command not allowed when used memory > 'maxmemory'.", "store_full", false],
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "layout_mismatch", false],
    ["READONLY You can't write against a read only replica.", "store_unavailable", true],
    ["MISCONF Redis is configured to save RDB snapshots", "store_unavailable", true],
  ])("%s, of a script", (message, code, retryable) => {
    for (const told of [
      `${message} script: ${DIGEST}, on @user_script:6.`,
      `ERR Error running script (call to f_${DIGEST}): @user_script:6: ${message}`,
      `ERR Error running script (call to f_${DIGEST}): @user_script:6: @user_script: 6: -${message}\r\n`,
    ]) {
      const error = storeError(replyError(told));
      expect(error).toMatchObject({ code, retryable });
      // The code of what is not known is the same as that of some of these.
      expect(error.message).toBe(storeError(replyError(message)).message);
    }
  });

  it.each([
    ["Redis 6", `Error running script (call to f_${DIGEST}): @user_script:1: @user_script: 1: ${NO_COMMAND}`],
    ["Redis 7.0", `${NO_COMMAND} script: ${DIGEST}, on @user_script:5.`],
    ["Redis 7.0, of a key", `${NO_KEY} script: ${DIGEST}, on @user_script:5.`],
    ["Redis 7.2", `ACL failure in script: User u has no permissions to run the 'hset' command script: ${DIGEST}`],
  ])("a right that a script lacks, by %s", (_, message) => {
    expect(storeError(replyError(`ERR ${message}`))).toMatchObject({ code: "access_denied", retryable: false });
  });

  it("that name a missing right are shown", () => {
    const { message } = storeError(replyError("NOPERM this user has no permissions to run the 'hget' command"));
    expect(message).toContain("'hget'");
  });
});

describe("errors of TLS and the network", () => {
  it.each<Case>([
    ["CERT_HAS_EXPIRED", "access_denied", false],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "access_denied", false],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "access_denied", false],
    ["SELF_SIGNED_CERT_IN_CHAIN", "access_denied", false],
    ["UNABLE_TO_GET_ISSUER_CERT", "access_denied", false],
    ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "access_denied", false],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "access_denied", false],
    ["ENOTFOUND", "store_unavailable", true],
    ["ECONNREFUSED", "store_unavailable", true],
    ["ECONNRESET", "store_unavailable", true],
    ["ETIMEDOUT", "store_unavailable", true],
    ["EPIPE", "store_unavailable", true],
  ])("%s", (code, expected, retryable) => {
    const error = storeError(Object.assign(new Error("native"), { code }));
    expect(error).toMatchObject({ code: expected, retryable, cause: { message: "native", code } });
  });

  it("of a port that does not speak TLS", () => {
    for (const message of [
      "write EPROTO 80:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:ssl3_record.c:332:",
      "C0:error:0A0000C6:SSL routines:tls_get_more_records:packet length too long:tls_record.c:1145:",
    ])
      expect(storeError(Object.assign(new Error(message), { code: "EPROTO" }))).toMatchObject({
        code: "access_denied",
      });
  });
});

describe("errors of ioredis", () => {
  it("stand for the last error of the connection, where they do not say what happened", () => {
    const closed = new Error("Connection is closed.");
    const refused = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" });
    expect(storeError(closed)).toMatchObject({ code: "store_unavailable", cause: { message: closed.message } });
    expect(storeError(closed, { error: refused })).toMatchObject({
      code: "store_unavailable",
      cause: { message: refused.message, code: "ECONNREFUSED" },
    });
    expect(storeError(closed, { error: replyError("WRONGPASS invalid username-password pair") })).toMatchObject({
      code: "access_denied",
      retryable: false,
    });
    // What a command says itself goes before what the connection said last.
    expect(storeError(replyError("OOM command not allowed"), { error: refused })).toMatchObject({ code: "store_full" });
  });

  it("of a Cluster are told by its last node", () => {
    const failed = new Error("Failed to refresh slots cache.");
    const told = (lastNodeError: Error) => storeError(Object.assign(failed, { lastNodeError }));
    expect(told(replyError("NOAUTH Authentication required."))).toMatchObject({ code: "access_denied" });
    expect(told(replyError("ERR This instance has cluster support disabled"))).toMatchObject({
      code: "invalid_request",
    });
    expect(told(new Error("timeout"))).toMatchObject({ code: "store_unavailable", retryable: true });
  });

  it.each<Case>([
    [
      "Too many Cluster redirections. Last error: ReplyError: TRYAGAIN Multiple keys request",
      "store_unavailable",
      true,
    ],
    // Two nodes that send on to each other are a Cluster in motion, and no mistake of the caller's.
    ["Too many Cluster redirections. Last error: ReplyError: MOVED 1 127.0.0.1:1", "store_unavailable", true],
    [
      "Too many Cluster redirections. Last error: ReplyError: CLUSTERDOWN Hash slot not served",
      "store_unavailable",
      true,
    ],
    ["All sentinels are unreachable and retry is disabled. Last error: WRONGPASS invalid", "access_denied", false],
    [
      "All sentinels are unreachable. Retrying from scratch after 10ms. Last error: Connection is closed.",
      "store_unavailable",
      true,
    ],
  ])("%s", (message, code, retryable) => {
    expect(storeError(new Error(message))).toMatchObject({ code, retryable });
  });
});

describe("any error", () => {
  it("that is none of Redis is unavailable", () => {
    expect(storeError("a string")).toMatchObject({ code: "store_unavailable", retryable: true, cause: "a string" });
    expect(storeError(undefined)).toMatchObject({ code: "store_unavailable", retryable: true });
  });

  it("that is Rollcall's stays as it is", () => {
    const error = new RollcallError("stale_lease", "taken over");
    expect(storeError(error)).toBe(error);
  });

  // ioredis hangs commands with their arguments on errors, of AUTH and HELLO too, and errors on errors.
  it("loses what ioredis hangs on it", () => {
    const secret = "s3cret";
    const auth = { name: "auth", args: ["user", secret] };
    const errors = [
      Object.assign(replyError("WRONGPASS invalid username-password pair"), { command: auth }),
      Object.assign(new Error("Command aborted due to connection close"), { command: auth, previousErrors: [auth] }),
      Object.assign(new Error("Failed to refresh slots cache."), {
        lastNodeError: Object.assign(replyError("WRONGPASS invalid"), { command: auth }),
      }),
      new Error("Connection is closed.", { cause: Object.assign(new Error("x"), { command: auth }) }),
      new AggregateError([Object.assign(new Error("x"), { command: auth })], "none of the addresses"),
    ];
    for (const error of errors) {
      const mapped = storeError(error);
      expect(mapped.cause).toMatchObject({ message: error.message, name: error.name, stack: error.stack });
      expect(own(error)).toContain(secret);
      expect(own(mapped)).not.toContain(secret);
      expect(own(storeError(new Error("Connection is closed."), { error }))).not.toContain(secret);
    }
  });
});

function replyError(message: string): Error {
  const error = new Error(message);
  error.name = "ReplyError";
  return error;
}

/** Everything that hangs on an error, hidden properties too. */
function own(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  return Reflect.ownKeys(value)
    .map((key) => `${String(key)}: ${own(Reflect.get(value, key))}`)
    .join("\n");
}
