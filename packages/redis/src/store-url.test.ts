// What a `redis:` URL may say, and what it is refused for without showing any of it.

import type { RollcallError } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { storeFactory } from "./store-factory.js";
import { flagOf, parseStoreUrl, type RedisUrl } from "./store-url.js";

const plain = {
  tls: false,
  mode: "single",
  username: undefined,
  password: undefined,
  hosts: [{ host: "h", port: 6_379 }],
  name: undefined,
  database: 0,
} as const;

describe("redis: URLs", () => {
  it.each<[url: string, named: Partial<RedisUrl>]>([
    ["redis://h", {}],
    ["redis://h/", {}],
    ["REDIS://h", {}],
    ["redis://h:6380", { hosts: [{ host: "h", port: 6_380 }] }],
    ["redis://h:65535", { hosts: [{ host: "h", port: 65_535 }] }],
    ["redis://10.0.0.1:1", { hosts: [{ host: "10.0.0.1", port: 1 }] }],
    ["redis://[::1]:6380", { hosts: [{ host: "::1", port: 6_380 }] }],
    ["redis://[fe80::1]", { hosts: [{ host: "fe80::1", port: 6_379 }] }],
    ["redis://h/3", { database: 3 }],
    ["redis://h/3/", { database: 3 }],
    ["rediss://h", { tls: true }],
    ["redis://:secret@h", { password: "secret" }],
    ["redis://user:secret@h", { username: "user", password: "secret" }],
    ["redis://user:a%40b%2Fc%3Fd%23e%25f%3Ag@h", { username: "user", password: "a@b/c?d#e%f:g" }],
    ["redis://user:a:b@h", { username: "user", password: "a:b" }],
    ["redis://us%3Aer:secret@h", { username: "us:er", password: "secret" }],
    ["redis://user@h", { username: "user" }],
    ["redis://%C3%A4:%F0%9F%94%91@h", { username: "ä", password: "🔑" }],
    ["redis+cluster://h", { mode: "cluster" }],
    ["rediss+cluster://h", { mode: "cluster", tls: true }],
    [
      "redis+cluster://a:1,b:2,[::1]",
      {
        mode: "cluster",
        hosts: [
          { host: "a", port: 1 },
          { host: "b", port: 2 },
          { host: "::1", port: 6_379 },
        ],
      },
    ],
    ["redis+sentinel://h/main", { mode: "sentinel", name: "main", hosts: [{ host: "h", port: 26_379 }] }],
    [
      "rediss+sentinel://user:secret@a,b:5/main/2",
      {
        mode: "sentinel",
        tls: true,
        username: "user",
        password: "secret",
        name: "main",
        database: 2,
        hosts: [
          { host: "a", port: 26_379 },
          { host: "b", port: 5 },
        ],
      },
    ],
  ])("%s", (url, named) => {
    const { parameters, ...read } = parseStoreUrl(url);
    expect(read).toEqual({ ...plain, ...named });
    expect([...parameters]).toEqual([]);
  });

  it("hand on their parameters", () => {
    const { parameters } = parseStoreUrl(
      "redis://h/1?prefix=team.a&timeoutMs=500&allowEviction=true&ca=%2Fetc%2Fca.pem",
    );
    expect(Object.fromEntries(parameters)).toEqual({
      prefix: "team.a",
      timeoutMs: "500",
      allowEviction: "true",
      ca: "/etc/ca.pem",
    });
  });

  it("say yes or no", () => {
    const read = (query: string) => flagOf(parseStoreUrl(`redis://h${query}`).parameters, "readOnly");
    expect([read(""), read("?readOnly=false"), read("?readOnly=true")]).toEqual([false, false, true]);
  });
});

// Each holds a secret wherever a URL can: what is refused must not show up in what is said about it.
describe("URLs that are refused", () => {
  it.each([
    ["no host", "redis://"],
    ["no host behind a login", "redis://user:s3cret@"],
    ["no slashes", "redis:h"],
    ["one slash", "redis:/h"],
    ["another scheme", "http://user:s3cret@h"],
    ["something after the + that is not known", "redis+tls://user:s3cret@h"],
    ["nothing after the +", "redis+://user:s3cret@h"],
    ["a fragment", "redis://user:s3cret@h#part"],
    ["a space before it", " redis://user:s3cret@h"],
    ["a port of no number", "redis://user:s3cret@h:port"],
    ["an empty port", "redis://user:s3cret@h:"],
    ["port 0", "redis://user:s3cret@h:0"],
    ["a port too high", "redis://user:s3cret@h:65536"],
    ["a port of many digits", "redis://user:s3cret@h:000006379"],
    ["IPv6 without brackets", "redis://user:s3cret@::1"],
    ["IPv6 in one bracket", "redis://user:s3cret@[::1"],
    ["IPv6 with something behind it", "redis://user:s3cret@[::1]x"],
    ["an empty host in a list", "redis+cluster://user:s3cret@a,,b"],
    ["a comma at the end", "redis+cluster://user:s3cret@a,"],
    ["several hosts of one server", "redis://user:s3cret@a,b"],
    ["a database that is no number", "redis://user:s3cret@h/zero"],
    ["a negative database", "redis://user:s3cret@h/-1"],
    ["a broken database", "redis://user:s3cret@h/1.5"],
    ["a path below the database", "redis://user:s3cret@h/1/2"],
    ["a database of a Cluster", "redis+cluster://user:s3cret@h/1"],
    ["a Sentinel without a name", "redis+sentinel://user:s3cret@h"],
    ["a Sentinel with an empty name", "redis+sentinel://user:s3cret@h//1"],
    ["a path below a Sentinel's database", "redis+sentinel://user:s3cret@h/main/1/2"],
    ["percent signs that encode nothing", "redis://user:s3cret%zz@h"],
    ["percent signs that encode no text", "redis://user:s3cret%ff@h"],
    ["an unknown parameter", "redis://user:s3cret@h?pool=5"],
    ["a parameter in another case", "redis://user:s3cret@h?readonly=true"],
    ["a flag that is neither true nor false", "redis://user:s3cret@h?allowEviction=1"],
    ["an empty flag", "redis://user:s3cret@h?readOnly="],
    ["slots that are no number", "redis://user:s3cret@h?slots=many"],
    ["an empty number", "redis://user:s3cret@h?minReplicas="],
    ["slots that are no power of two", "redis://user:s3cret@h?slots=3"],
    ["a time that is none", "redis://user:s3cret@h?timeoutMs=-1"],
    ["a prefix that is not valid", "redis://user:s3cret@h?prefix=a:b"],
    ["an empty prefix", "redis://user:s3cret@h?prefix="],
    ["an @ in the password as it is", "redis://user:pass@s3cret@h"],
    ["a / in the password as it is", "redis://user:pass/s3cret@h"],
    ["a ? in the password as it is", "redis://user:12?s3cret@h"],
    ["a # in the password as it is", "redis://user:pass#s3cret@h"],
    ["a file of ca= that is not there", "rediss://user:s3cret@h?ca=%2Fno%2Fsuch%2Ffile.pem"],
  ])("%s", (_, url) => {
    const error = refusalOf(url);
    expect(error).toMatchObject({ name: "RollcallError", code: "invalid_request", retryable: false });
    expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain("s3cret");
  });
});

function refusalOf(url: string): RollcallError {
  try {
    storeFactory.createStore(url, {});
  } catch (error) {
    return error as RollcallError;
  }
  throw new Error("the URL was not refused");
}
