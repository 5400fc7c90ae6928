// One process writes, three others read the same folder. Each reader follows the registry by itself: nothing is sent
// from the writer to the readers.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRollcall, createSegmentReader } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";

const [folder] = process.argv.slice(2);
if (folder === undefined) await write();
else await read(folder);

async function write(): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), "rollcall-"));
  const store = createLmdbStore(place);
  await store.open();
  const rollcall = createRollcall(store);
  await rollcall.replace("vips", { included: ["ada", "grace"] });

  const readers = ["a", "b", "c"].map((name) => ({ name, process: fork(fileURLToPath(import.meta.url), [place]) }));
  console.log((await nextAnswers(readers)).join("\n"));

  const changed = nextAnswers(readers);
  await rollcall.replace("vips", { included: ["grace", "edsger"] });
  console.log("the writer replaced the members");
  console.log((await changed).join("\n"));

  for (const reader of readers) {
    reader.process.disconnect();
    await once(reader.process, "exit");
  }
  await rollcall.close();
  await store.close();
  await rm(place, { recursive: true });
}

/** Each reader speaks when its answer has changed. */
function nextAnswers(readers: readonly { name: string; process: ChildProcess }[]): Promise<string[]> {
  return Promise.all(
    readers.map(async ({ name, process: reader }) => {
      const [answer] = await once(reader, "message");
      return `reader ${name}: ${String(answer)}`;
    }),
  );
}

async function read(place: string): Promise<void> {
  // readOnly: a reader needs no right to write, and never creates anything.
  const store = createLmdbStore(place, { readOnly: true });
  await store.open();
  const reader = createSegmentReader({ store, pollMs: 100 });
  let last = "";
  const timer = setInterval(async () => {
    const { segments } = await reader.membership({ kind: "user", key: "ada" });
    const answer = segments.get("vips") ? "ada is a vip" : "ada is no vip";
    if (answer !== last && process.connected) process.send?.(answer);
    last = answer;
  }, 50);
  await once(process, "disconnect");
  clearInterval(timer);
  reader.close();
  await store.close();
}
