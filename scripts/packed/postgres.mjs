// Runs in a folder that holds only the packed core, the packed PostgreSQL adapter and their dependencies, where no server is:
// core resolves URLs to the adapter installed beside it, and whatever is wrong ends in core's own errors. That nothing
// keeps the process alive afterwards is part of it.
import assert from "node:assert/strict";
import { openStore } from "@rollcall/core";
import { createPostgresStore, storeFactory } from "@rollcall/postgres";
import { isRefusal, secret } from "./refusal.mjs";

assert.deepEqual(storeFactory.schemes, ["postgres", "postgresql"]);

for (const url of [
  `postgres://user:${secret}@`,
  `postgres://user:${secret}@a,b/app`,
  `postgres://user:${secret}@host/app?${secret}=1`,
  `postgresql://user:${secret}@host?sslmode=prefer`,
  `postgresql://user:${secret}@host?sslrootcert=no-such-file.pem`,
]) {
  await assert.rejects(openStore(url), isRefusal("invalid_request"), url);
}

// Port 1 is where nobody listens.
for (const url of [
  `postgres://user:${secret}@127.0.0.1:1`,
  `postgresql://user:${secret}@127.0.0.1:1/app?schema=packed&timeoutMs=500`,
  `postgres://user:${secret}@127.0.0.1:1/app?sslmode=verify-full`,
]) {
  await assert.rejects(openStore(url, { environment: "packed" }), isRefusal("store_unavailable"), url);
}

const store = storeFactory.createStore("postgres://127.0.0.1:1", { environment: "packed" });
assert.equal(store.environment, "packed");
await assert.rejects(store.getEpoch(), isRefusal("closed"));
await assert.rejects(store.open(), isRefusal("store_unavailable"));
await store.close();

assert.throws(() => createPostgresStore("postgres://127.0.0.1:1", { schema: "a b" }), isRefusal("invalid_request"));
// Anything with a query will do.
const own = createPostgresStore(
  {
    async query() {
      throw Object.assign(new Error("disk full"), { code: "53100" });
    },
  },
  { environment: "own" },
);
await assert.rejects(own.open(), isRefusal("store_full"));
await own.close();

console.log("used");
