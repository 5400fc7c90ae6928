// The whole of it in one process: a folder as the store, a delta, a snapshot, and the questions that a request asks.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRollcall, createSegmentReader } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";

const folder = await mkdtemp(join(tmpdir(), "rollcall-"));
const store = createLmdbStore(folder, { environment: "production" });
await store.open();
const rollcall = createRollcall(store);

// A delta: some come, some go. It creates the segment. A member that cannot be a key is left out and reported.
const delta = await rollcall.merge("beta-testers", { add: ["u-1", "u-2", 3, ""], remove: ["u-9"] });
console.log(`merge: ${delta.added.value} added, ${delta.rejected.count} left out`, delta.rejected.listed);

// The other list says of whom it is known that they are not in. Who is in both lists is included.
await rollcall.merge("beta-testers", { add: ["u-5"] }, { list: "excluded" });

// A snapshot: afterwards the included list holds exactly these. The other list stays as it is.
const snapshot = await rollcall.replace(
  "beta-testers",
  { included: ["u-1", "u-2", "u-4"] },
  { details: { name: "Beta testers" }, syncId: "export-of-monday" },
);
console.log(`replace: ${snapshot.added.value} added, ${snapshot.removed.value} removed`);

// The same sync sent twice, for instance because its answer got lost, is recognised by its id.
const again = await rollcall.replace("beta-testers", { included: ["u-1"] }, { syncId: "export-of-monday" });
console.log(`replace again: ${again.outcome}`);

const reader = createSegmentReader({ store });
for (const key of ["u-1", "u-5", "u-6"]) {
  const { member, decision, status } = await reader.isMember("beta-testers", { kind: "user", key });
  console.log(`${key}: ${member ? "member" : "no member"} (${decision}, ${status})`);
}
const { segments } = await reader.membership({ kind: "user", key: "u-1" });
console.log("u-1 is in", Object.fromEntries(segments));

reader.close();
await rollcall.close();
await store.close();
await rm(folder, { recursive: true });
