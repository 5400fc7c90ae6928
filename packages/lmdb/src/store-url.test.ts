// What an `lmdb:` URL may say, and what it is refused for.

import { describe, expect, it } from "vitest";
import { parseStoreUrl, storeFactory } from "./store-url.js";

describe("lmdb: URLs", () => {
  it.each([
    ["lmdb:folder", "folder"],
    ["lmdb:./folder/sub", "./folder/sub"],
    ["lmdb:../folder", "../folder"],
    ["lmdb:/srv/rollcall", "/srv/rollcall"],
    ["lmdb:///srv/rollcall", "/srv/rollcall"],
    ["lmdb:/srv/with%20space%3F%25", "/srv/with space?%"],
    ["lmdb:///srv/%C3%A4", "/srv/ä"],
    ["lmdb:./ä", "./ä"],
  ])("%s", (url, path) => {
    expect(parseStoreUrl(url, "linux")).toEqual({ path, readOnly: false });
  });

  it.each([
    ["lmdb:C:\\data\\rollcall", "C:\\data\\rollcall"],
    ["lmdb:C:/data", "C:/data"],
    ["lmdb:/C:/data", "C:/data"],
    ["lmdb:///C:/data%20x", "C:\\data x"],
    ["lmdb:.\\folder", ".\\folder"],
  ])("on Windows %s", (url, path) => {
    expect(parseStoreUrl(url, "win32")).toEqual({ path, readOnly: false });
  });

  it("may ask for a reader", () => {
    expect(parseStoreUrl("lmdb:./folder?readOnly=true")).toEqual({ path: "./folder", readOnly: true });
    expect(parseStoreUrl("lmdb:./folder?readOnly=false")).toEqual({ path: "./folder", readOnly: false });
  });

  it.each([
    "lmdb:",
    "lmdb:?readOnly=true",
    "lmdb://host/folder",
    "lmdb:./folder#part",
    "lmdb:./folder?readonly=true",
    "lmdb:./folder?readOnly=yes",
    "lmdb:./%",
    "lmdb:./%00",
    "lmdb:///a%2Fb",
    "redis:./folder",
  ])("are refused where they say nothing that can be opened: %s", (url) => {
    expect(() => storeFactory.createStore(url, {})).toThrow(expect.objectContaining({ code: "invalid_request" }));
  });
});
