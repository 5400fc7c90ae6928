// Runs in a folder that holds only the packed core, the packed DynamoDB adapter and their dependencies, where no server is:
// core resolves URLs to the adapter installed beside it, and whatever is wrong ends in core's own errors. That nothing
// keeps the process alive afterwards is part of it.
import assert from "node:assert/strict";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { openStore } from "@rollcall/core";
import { createDynamoDbStore, storeFactory } from "@rollcall/dynamodb";
import { isRefusal, secret } from "./refusal.mjs";

assert.deepEqual(storeFactory.schemes, ["dynamodb"]);

process.env.AWS_ACCESS_KEY_ID = "AKIAPACKED";
process.env.AWS_SECRET_ACCESS_KEY = secret;

for (const url of [
  `dynamodb://user:${secret}@table`,
  `dynamodb://table?${secret}=1`,
  "dynamodb://table?region=EU",
  `dynamodb://table?endpoint=http://user:${secret}@localhost:8000`,
  "dynamodb://table?lookups=fast",
]) {
  await assert.rejects(openStore(url), isRefusal("invalid_request"), url);
}

// Port 1 is where nobody listens.
const nobody = "region=eu-central-1&endpoint=http://127.0.0.1:1";
for (const url of [`dynamodb:?${nobody}`, `dynamodb://table?${nobody}&timeoutMs=500&createTable=true`]) {
  await assert.rejects(openStore(url, { environment: "packed" }), isRefusal("store_unavailable"), url);
}

const store = storeFactory.createStore(`dynamodb://table?${nobody}`, { environment: "packed" });
assert.equal(store.environment, "packed");
await assert.rejects(store.getEpoch(), isRefusal("closed"));
await assert.rejects(store.open(), isRefusal("store_unavailable"));
await store.close();

assert.throws(() => createDynamoDbStore(`dynamodb://table?${nobody}`, { table: "a b" }), isRefusal("invalid_request"));
// A client that would resend.
const client = new DynamoDBClient({ region: "eu-central-1", endpoint: "http://127.0.0.1:1" });
const own = createDynamoDbStore(client, { environment: "own" });
await assert.rejects(own.open(), isRefusal("invalid_request"));
await own.close();
client.destroy();

console.log("used");
