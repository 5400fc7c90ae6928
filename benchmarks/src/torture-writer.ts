// One sync in a process of its own, for the torture run to kill. Says `started` when the store is open and the sync begins.

import { createRollcall } from "@rollcall/core";
import { deltaChanges, snapshotMembers } from "./torture-audience.js";
import { openPlace, type TorturePlace } from "./torture-place.js";

const [place = "", environment = "", segmentKey = "", mode = "", members = "", version = "", leaseTtlMs = ""] =
  process.argv.slice(2);

const { store, close } = await openPlace(JSON.parse(place) as TorturePlace, environment);
const rollcall = createRollcall(store, { leaseTtlMs: Number(leaseTtlMs) });
process.stdout.write("started\n");
if (mode === "replace") {
  await rollcall.replace(segmentKey, { included: asAsync(snapshotMembers(Number(members), Number(version))) });
} else {
  await rollcall.merge(segmentKey, { changes: asAsync(deltaChanges(Number(members), Number(version))) });
}
process.stdout.write("acknowledged\n");
await rollcall.close();
await close();

async function* asAsync<T>(batches: Iterable<T>): AsyncGenerator<T> {
  yield* batches;
}
