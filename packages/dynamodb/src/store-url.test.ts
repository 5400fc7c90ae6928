// What a dynamodb: URL names, and what it may not.

import { isRollcallError } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { createDynamoDbStore } from "./store.js";
import { parseStoreUrl } from "./store-url.js";

describe("a dynamodb: URL", () => {
  it("may name nothing", () => {
    const { region, endpoint, options } = parseStoreUrl("dynamodb:");
    expect({ region, endpoint, table: options.table }).toEqual({
      region: undefined,
      endpoint: undefined,
      table: undefined,
    });
  });

  it("names table, region, endpoint and options", () => {
    const url =
      "dynamodb://audiences.eu?region=eu-central-1&endpoint=http%3A%2F%2Flocalhost%3A8000&readOnly=true&createTable=true&lookups=eventual&timeoutMs=500";
    expect(parseStoreUrl(url)).toEqual({
      region: "eu-central-1",
      endpoint: "http://localhost:8000",
      options: { table: "audiences.eu", readOnly: true, createTable: true, lookups: "eventual", timeoutMs: 500 },
    });
  });

  it.each([
    "dynamodb://key:s3cret@table",
    "dynamodb://table/s3cret",
    "dynamodb://table?s3cret=1",
    "dynamodb://table?region=s3cret!",
    "dynamodb://table?endpoint=s3cret",
    "dynamodb://table?endpoint=http://user:s3cret@localhost",
    "dynamodb://table?endpoint=ftp://s3cret",
    "dynamodb://table?readOnly=s3cret",
    "dynamodb://table?lookups=s3cret",
    "dynamodb://table?timeoutMs=-1s3cret",
    "dynamodb://table#s3cret",
  ])("is refused without showing it: %s", (url) => {
    let thrown: unknown;
    try {
      parseStoreUrl(url);
    } catch (error) {
      thrown = error;
    }
    expect(isRollcallError(thrown, "invalid_request")).toBe(true);
    expect(String(thrown)).not.toContain("s3cret");
  });
});

describe("options", () => {
  it("that do not exist are refused: a misspelt one would stand for its default", () => {
    const options = { enviroment: "production" } as object;
    expect(() => createDynamoDbStore("dynamodb://table", options)).toThrow(
      /no option enviroment; known are environment/,
    );
  });
});
