// The warm reader of the torture run: asks about a sample all along and judges every answer.

import { createSegmentReader, type SegmentReader } from "@rollcall/core";
import { keyOf, universe } from "./torture-audience.js";
import { MAX_REGISTRY_AGE_MS, type Mode, type Tally, type Torture } from "./torture-tally.js";

const SAMPLE = 400;

interface Watched {
  readonly mode: Mode;
  readonly model: Uint8Array;
  readonly next: Uint8Array;
  readonly tally: Tally;
  readonly version: number;
}

/** Asks one warm reader for a sample of members all the time, and judges every answer. */
export function watch(
  { store, members, random }: Torture,
  segmentKey: string,
  { mode, model, next, tally, version }: Watched,
) {
  const reader: SegmentReader = createSegmentReader({
    store,
    pollMs: 20,
    cacheTtlMs: 50,
    maxRegistryAgeMs: MAX_REGISTRY_AGE_MS,
    onError: "throw",
  });
  const sample = Array.from({ length: SAMPLE }, () => Math.floor(random() * universe(members)));
  let stopped = false;
  let sawNew = false;
  let latest = { old: 0, new: 0 };

  async function look(): Promise<void> {
    const seen = { old: 0, new: 0 };
    for (const index of sample) {
      const { member } = await reader.isMember(segmentKey, { kind: "user", key: keyOf(index) });
      tally.observations++;
      const isOld = Number(member) === model[index];
      const isNew = Number(member) === next[index];
      if (!isOld && !isNew) deviation(`member ${index} is neither as before nor as after`);
      if (isOld === isNew) continue;
      if (isNew) seen.new++;
      else seen.old++;
      if (mode !== "replace") continue;
      if (isNew) sawNew = true;
      else if (sawNew) deviation(`member ${index} is as before although the snapshot had been seen`);
    }
    latest = seen;
  }

  function deviation(what: string): void {
    if (tally.deviations.length < 100) tally.deviations.push(`${mode} ${version}: ${what}`);
  }

  const watching = { done: Promise.resolve() };
  return {
    async warm() {
      await look();
      watching.done = (async () => {
        while (!stopped) {
          await look();
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
    },
    async lookAfterKill() {
      await reader.refresh();
      await look();
      // What a dead writer had sent may reach a server during the look. A mixture would still be there afterwards.
      if (mode === "replace" && latest.old > 0 && latest.new > 0) await look();
      const { old, new: fresh } = latest;
      if (fresh === 0) tally.seenOld++;
      else if (old === 0) tally.seenNew++;
      else tally.seenPartial++;
      if (mode === "replace" && old > 0 && fresh > 0)
        deviation(`after the kill ${old} members are as before and ${fresh} as after`);
    },
    async stop() {
      stopped = true;
      await watching.done;
      reader.close();
    },
  };
}
