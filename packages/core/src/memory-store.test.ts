// What the conformance suite cannot see: the URL factory, and that handles share data but no objects.

import { describe, expect, it } from "vitest";
import { isRollcallError } from "./errors.js";
import { createMemoryDatabase, createMemoryStore, memoryStoreFactory } from "./memory-store.js";

async function environmentId(url: string, environment?: string): Promise<string> {
  const store = memoryStoreFactory.createStore(url, environment === undefined ? {} : { environment });
  await store.open();
  return (await store.getEnvironment()).id;
}

describe("memoryStoreFactory", () => {
  it("gives each bare URL a database of its own", async () => {
    expect(await environmentId("memory:")).not.toBe(await environmentId("memory:"));
  });

  it("shares a named database within the process", async () => {
    expect(await environmentId("memory:shared")).toBe(await environmentId("memory://shared"));
    expect(await environmentId("memory:shared", "other")).not.toBe(await environmentId("memory:shared"));
  });

  it("refuses other URLs, and does not show them", () => {
    const url = "memory://name:secret@host/path";
    expect(() => memoryStoreFactory.createStore(url, {})).toThrowError(
      expect.toSatisfy((error) => isRollcallError(error, "invalid_request") && !error.message.includes("secret")),
    );
  });
});

describe("createMemoryStore", () => {
  it("hands out copies", async () => {
    const store = createMemoryStore({ database: createMemoryDatabase() });
    await store.open();
    const taken = await store.getEnvironment();
    taken.initialized = true;
    expect((await store.getEnvironment()).initialized).toBe(false);
  });

  it("refuses an environment name that is not valid", () => {
    expect(() => createMemoryStore({ environment: "a:b" })).toThrowError(
      expect.toSatisfy((error) => isRollcallError(error, "invalid_request")),
    );
  });
});
