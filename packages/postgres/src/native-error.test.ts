// Which code each error of PostgreSQL, PgBouncer, pg, TLS and the network becomes.

import { RollcallError, type RollcallErrorCode } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { storeError } from "./native-error.js";

type Case = readonly [code: string | undefined, message: string, becomes: RollcallErrorCode, retryable: boolean];

describe("native errors", () => {
  it.each<Case>([
    ["28P01", 'password authentication failed for user "syncer"', "access_denied", false],
    [
      "28000",
      'no pg_hba.conf entry for host "10.0.0.1", user "a", database "b", no encryption',
      "access_denied",
      false,
    ],
    [
      "28000",
      'no pg_hba.conf entry for host "10.0.0.1", user "a", database "b", SSL encryption',
      "access_denied",
      false,
    ],
    ["42501", "permission denied for table rollcall_blocks", "access_denied", false],
    [undefined, "SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string", "access_denied", false],
    [undefined, "The server does not support SSL connections", "access_denied", false],
    ["08P01", "password authentication failed", "access_denied", false],
    ["SELF_SIGNED_CERT_IN_CHAIN", "self-signed certificate in certificate chain", "access_denied", false],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "Hostname/IP does not match certificate's altnames", "access_denied", false],
    ["3D000", 'database "nowhere" does not exist', "invalid_request", false],
    ["08P01", "no such database: nowhere", "invalid_request", false],
    [
      "22P05",
      'character with byte sequence 0xe2 0x82 0xac in encoding "UTF8" has no equivalent in encoding "LATIN1"',
      "invalid_request",
      false,
    ],
    ["42P01", 'relation "rollcall.rollcall_blocks" does not exist', "layout_mismatch", false],
    ["42P07", 'relation "rollcall_segments" already exists', "layout_mismatch", false],
    ["42703", 'column "version" does not exist', "layout_mismatch", false],
    ["42710", 'type "rollcall_blocks" already exists', "layout_mismatch", false],
    ["42804", 'column "epoch" is of type integer but expression is of type text', "layout_mismatch", false],
    ["42809", '"rollcall_layout" is not a table', "layout_mismatch", false],
    ["42883", "function rollcall.rollcall_admit(text) does not exist", "layout_mismatch", false],
    ["53100", "could not extend file: No space left on device", "store_full", false],
    ["2200H", "nextval: reached maximum value of sequence", "store_full", false],
    ["XX001", "invalid page in block 3 of relation base/5/16384", "corrupt_data", false],
    ["25006", "cannot execute UPDATE in a read-only transaction", "store_unavailable", true],
    ["40001", "could not serialize access due to concurrent update", "store_unavailable", true],
    ["40P01", "deadlock detected", "store_unavailable", true],
    ["53300", "sorry, too many clients already", "store_unavailable", true],
    ["55P03", "canceling statement due to lock timeout", "store_unavailable", true],
    ["57014", "canceling statement due to statement timeout", "store_unavailable", true],
    ["57P01", "terminating connection due to administrator command", "store_unavailable", true],
    ["57P03", "the database system is starting up", "store_unavailable", true],
    ["08P01", "query_wait_timeout", "store_unavailable", true],
    ["XX000", "anything else", "store_unavailable", true],
    ["ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:1", "store_unavailable", true],
    ["ENOTFOUND", "getaddrinfo ENOTFOUND nowhere.invalid", "store_unavailable", true],
    ["ECONNRESET", "read ECONNRESET", "store_unavailable", true],
    [undefined, "Connection terminated unexpectedly", "store_unavailable", true],
    [undefined, "Query read timeout", "store_unavailable", true],
    [undefined, "timeout exceeded when trying to connect", "store_unavailable", true],
    [undefined, "Cannot use a pool after calling end on the pool", "closed", false],
    [undefined, "Client was closed and is not queryable", "closed", false],
  ])("%s %s", (code, message, becomes, retryable) => {
    const cause = Object.assign(new Error(message), code === undefined ? {} : { code });
    expect(storeError(cause, "production")).toMatchObject({ code: becomes, retryable });
  });

  it.each([
    ["XX000", /refused/],
    ["0A000", /refused/],
    ["08006", /connection/],
    ["EPIPE", /connection/],
    ["ECONNRESET", /connection/],
  ])("%s that is not known is told from a connection that broke", (code, words) => {
    expect(storeError(Object.assign(new Error("anything"), { code }), "production").message).toMatch(words);
  });

  it("are kept as the cause", () => {
    const cause = Object.assign(new Error("deadlock detected"), { code: "40P01" });
    expect(storeError(cause, "production").cause).toBe(cause);
  });

  it("may be anything at all", () => {
    for (const thrown of [undefined, null, "text", {}]) expect(storeError(thrown, "e").code).toBe("store_unavailable");
  });

  it("that are Rollcall's own stay as they are", () => {
    const own = new RollcallError("stale_lease", "a newer writer took over");
    expect(storeError(own, "production")).toBe(own);
  });
});
