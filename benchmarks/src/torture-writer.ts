// One sync in a process of its own, for the torture run to kill. Says `started` when the store is open and the sync begins.

import { createRollcall, openStore } from "@rollcall/core";
import { storeFactory } from "@rollcall/lmdb";
import { deltaChanges, snapshotMembers } from "./torture-audience.js";

const [url = "", environment = "", segmentKey = "", mode = "", members = "", version = "", leaseTtlMs = ""] =
  process.argv.slice(2);

const store = await openStore(url, { environment, factories: [storeFactory] });
const rollcall = createRollcall(store, { leaseTtlMs: Number(leaseTtlMs) });
process.stdout.write("started\n");
if (mode === "replace") {
  await rollcall.replace(segmentKey, { included: asAsync(snapshotMembers(Number(members), Number(version))) });
} else {
  await rollcall.merge(segmentKey, { changes: asAsync(deltaChanges(Number(members), Number(version))) });
}
process.stdout.write("acknowledged\n");
await rollcall.close();
await store.close();

async function* asAsync<T>(batches: Iterable<T>): AsyncGenerator<T> {
  yield* batches;
}
