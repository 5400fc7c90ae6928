// A replacement under the eyes of a warm reader: two users who trade places are never both members, and never both not.
// A snapshot that would empty the segment is refused.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRollcall, createSegmentReader, isRollcallError, type Member } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";

const folder = await mkdtemp(join(tmpdir(), "rollcall-"));
const store = createLmdbStore(folder);
await store.open();
const rollcall = createRollcall(store);
const reader = createSegmentReader({ store, pollMs: 50, maxRegistryAgeMs: 1_000 });

const users = 50_000;
await rollcall.replace("winners", { included: batches("early", users) });

const seen = new Set<string>();
const watcher = (async () => {
  while (!seen.has("the new members")) {
    const [early, late] = await Promise.all([isWinner("early-7"), isWinner("late-7")]);
    const view = early === late ? "a mixture" : early ? "the old members" : "the new members";
    seen.add(view);
    await new Promise((resolve) => setImmediate(resolve));
  }
})();

const report = await rollcall.replace("winners", { included: batches("late", users) });
console.log(`replaced: ${report.removed.value} removed, ${report.added.value} added`);
await watcher;
console.log(`the reader saw ${[...seen].join(", then ")}`);

try {
  await rollcall.replace("winners", { included: [] });
} catch (error) {
  if (!isRollcallError(error, "shrink_guard")) throw error;
  console.log("an empty snapshot is refused:", error.code);
}

reader.close();
await rollcall.close();
await store.close();
await rm(folder, { recursive: true });
process.exitCode = seen.has("a mixture") ? 1 : 0;

async function isWinner(key: string): Promise<boolean> {
  return (await reader.isMember("winners", { kind: "user", key })).member;
}

/** A large audience comes as a stream of arrays, some thousands at a time. */
async function* batches(prefix: string, count: number): AsyncGenerator<Member[]> {
  for (let from = 0; from < count; from += 10_000)
    yield Array.from({ length: Math.min(10_000, count - from) }, (_, index) => `${prefix}-${from + index}`);
}
