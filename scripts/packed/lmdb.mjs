// Runs in a folder that holds only the packed core, the packed LMDB adapter and their dependencies: a segment is synced,
// read, and read again from a store opened by its URL, which core resolves to the adapter installed beside it.
import assert from "node:assert/strict";
import { createMemoryStore, createRollcall, createSegmentReader, openStore } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";

assert.equal(typeof createLmdbStore, "function");

const member = { kind: "user", key: "ada" };
const stranger = { kind: "user", key: "someone-else" };

async function isMember(store, context) {
  const reader = createSegmentReader({ store });
  try {
    return (await reader.isMember("beta", context)).member;
  } finally {
    reader.close();
  }
}

async function syncAndRead(store) {
  await store.open();
  const rollcall = createRollcall(store);
  await rollcall.merge("beta", { add: ["ada", "grace"], remove: ["grace"] });
  await rollcall.close();
  assert.equal(await isMember(store, member), true);
  assert.equal(await isMember(store, stranger), false);
  assert.equal(await isMember(store, { kind: "user", key: "grace" }), false);
  await store.close();
}

await syncAndRead(createMemoryStore());
await syncAndRead(await openStore("lmdb:./audience"));

const reopened = await openStore("lmdb:./audience");
await reopened.open();
assert.equal(await isMember(reopened, member), true);
await reopened.close();

console.log("used");
