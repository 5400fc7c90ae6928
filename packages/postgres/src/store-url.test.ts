// What a `postgres:` URL may say, and what it is refused for without showing any of it.

import { findSecrets } from "@rollcall/conformance";
import type { RollcallError } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { createPostgresStore } from "./store.js";
import { storeFactory } from "./store-factory.js";
import { type PostgresUrl, parseStoreUrl } from "./store-url.js";

const plain = {
  user: undefined,
  password: undefined,
  host: "h",
  port: 5_432,
  database: undefined,
  sslMode: "disable",
  rootCertificate: undefined,
  maxConnections: 10,
  options: { schema: undefined, readOnly: false, timeoutMs: undefined, listen: undefined },
} as const;

describe("postgres: URLs", () => {
  it.each<[url: string, named: Partial<PostgresUrl>]>([
    ["postgres://h", {}],
    ["postgresql://h/", {}],
    ["POSTGRES://h", {}],
    ["postgres://h:6432/app", { port: 6_432, database: "app" }],
    ["postgres://[::1]:1/a%2Fb", { host: "::1", port: 1, database: "a/b" }],
    ["postgres://user@h", { user: "user" }],
    ["postgres://user:a%40b%2Fc%3Fd%23e%25f@h", { user: "user", password: "a@b/c?d#e%f" }],
    ["postgres://user:a:b@h", { user: "user", password: "a:b" }],
    ["postgres://:secret@h", { password: "secret" }],
    ["postgres://h?sslmode=require", { sslMode: "require" }],
    ["postgres://h?sslmode=verify-full", { sslMode: "verify-full" }],
    ["postgres://h?sslrootcert=%2Fetc%2Fca.pem", { sslMode: "verify-full", rootCertificate: "/etc/ca.pem" }],
    ["postgres://h?maxConnections=3", { maxConnections: 3 }],
    [
      "postgres://h?schema=audiences&readOnly=true&timeoutMs=500&listen=false",
      { options: { schema: "audiences", readOnly: true, timeoutMs: 500, listen: false } },
    ],
    ["postgres://h?listen=true", { options: { ...plain.options, listen: true } }],
  ])("%s", (url, named) => {
    expect(parseStoreUrl(url)).toEqual({ ...plain, ...named });
  });

  it.each([
    "postgres:",
    "postgres://",
    "postgres://user:s3cret@",
    "postgres://user:s3cret@h/a/b",
    "postgres://user:s3cret@a,b/app",
    "postgres://user:s3cret@h:0",
    "postgres://user:s3cret@h:65536",
    "postgres://user:s3cret@h:port",
    "postgres://user:s3/cret@h",
    "postgres://user:s3cret@more@h",
    "postgres://user:s3cret%@h",
    "postgres://user:s3cret@h?s3cret=1",
    "postgres://user:s3cret@h?sslmode=prefer",
    "postgres://user:s3cret@h?sslmode=require&sslrootcert=ca.pem",
    "postgres://user:s3cret@h?sslrootcert=no-such-file.pem",
    "postgres://user:s3cret@h?readOnly=yes",
    "postgres://user:s3cret@h?timeoutMs=0",
    "postgres://user:s3cret@h?listen=0",
    "postgres://user:s3cret@h?maxConnections=1.5",
    "postgres://user:s3cret@h?schema=pg_catalog",
    "postgres://user:s3cret@h?schema=a%22b",
    `postgres://user:s3cret@h?schema=${"s".repeat(64)}`,
    "postgres://user:s3cret@h#s3cret",
  ])("%s is refused", (url) => {
    let refusal: RollcallError | undefined;
    try {
      storeFactory.createStore(url, {});
    } catch (error) {
      refusal = error as RollcallError;
    }
    expect(refusal).toMatchObject({ name: "RollcallError", code: "invalid_request" });
    expect(findSecrets(refusal, ["s3cret", "s3/cret"])).toEqual([]);
  });
});

describe("options", () => {
  it("that do not exist are refused: a misspelt one would stand for its default", () => {
    const options = { enviroment: "production" } as object;
    expect(() => createPostgresStore("postgres://h/x", options)).toThrow(/no option enviroment; known are environment/);
  });
});
