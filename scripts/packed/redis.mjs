// Runs in a folder that holds only the packed core, the packed Redis adapter and their dependencies, where no server is:
// core resolves URLs to the adapter installed beside it, and whatever is wrong ends in core's own errors. That nothing
// keeps the process alive afterwards is part of it.
import assert from "node:assert/strict";
import { openStore } from "@rollcall/core";
import { createRedisStore, storeFactory } from "@rollcall/redis";
import { isRefusal, secret } from "./refusal.mjs";

assert.deepEqual(storeFactory.schemes, ["redis", "rediss"]);

for (const url of [
  `redis://user:${secret}@`,
  `redis://user:${secret}@host/none`,
  `redis+nothing://user:${secret}@host`,
  `redis+sentinel://user:${secret}@host`,
  `rediss://user:${secret}@host?slots=3`,
  `rediss://user:${secret}@host?ca=no-such-file.pem`,
]) {
  await assert.rejects(openStore(url), isRefusal("invalid_request"), url);
}

// Port 1 is where nobody listens.
const login = `user:${secret}`;
for (const url of [
  "redis://127.0.0.1:1",
  `redis://${login}@127.0.0.1:1`,
  `rediss://${login}@127.0.0.1:1/2?prefix=packed`,
  `redis+cluster://${login}@127.0.0.1:1,127.0.0.1:1`,
  `redis+sentinel://${login}@127.0.0.1:1/main?timeoutMs=500`,
]) {
  await assert.rejects(openStore(url, { environment: "packed" }), isRefusal("store_unavailable"), url);
}

const store = storeFactory.createStore("redis://127.0.0.1:1", { environment: "packed" });
assert.equal(store.environment, "packed");
await assert.rejects(store.getEpoch(), isRefusal("closed"));
await assert.rejects(store.open(), isRefusal("store_unavailable"));
await store.close();

assert.throws(() => createRedisStore("redis://127.0.0.1:1", { slots: 3 }), isRefusal("invalid_request"));
const named = createRedisStore("redis+cluster://127.0.0.1:1", { environment: "named" });
assert.equal(named.environment, "named");
await assert.rejects(named.open(), isRefusal("store_unavailable"));
await named.close();

console.log("used");
