// Runs in a folder that holds only the packed core, the packed LMDB adapter and their dependencies: a segment is synced,
// read, and read again from a store opened by its URL, which core resolves to the adapter installed beside it. What is not installed is
// named: in the workspace itself the tests' runner finds every adapter.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createMemoryStore, createRollcall, createSegmentReader, openStore } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";
import { isRefusal, secret } from "./refusal.mjs";

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

const missing = [
  ["redis", "npm install @rollcall/redis ioredis"],
  ["postgres", "npm install @rollcall/postgres pg"],
  ["dynamodb", "npm install @rollcall/dynamodb @aws-sdk/client-dynamodb @aws-sdk/lib-dynamodb"],
];
for (const [scheme, remedy] of missing) {
  const opening = openStore(`${scheme}://name:${secret}@host/db`);
  await assert.rejects(opening, (error) => isRefusal("adapter_not_found")(error) && error.message.includes(remedy));

  const args = ["segments", "list", "--store", `${scheme}://name:${secret}@host/db`, "--json"];
  const command = spawnSync(process.execPath, ["node_modules/@rollcall/cli/bin/rollcall.js", ...args], {
    encoding: "utf8",
  });
  assert.equal(command.status, 2, command.stderr);
  const { error } = JSON.parse(command.stderr);
  assert.equal(error.code, "adapter_not_found");
  assert.ok(error.message.includes(remedy));
  assert.equal(command.stderr.includes(secret), false);
}

console.log("used");
