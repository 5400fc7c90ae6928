// Watches of the epoch, where a store offers them. A handle on which one ends by itself at once cannot tell, as the port allows: there
// is nothing more to ask of it.

import assert from "node:assert/strict";
import type { Epoch, SegmentStore } from "@rollcall/core";
import { AUDIENCE } from "../audience.js";
import type { Check, CheckContext } from "../check.js";
import { keyOf, sampleSegment } from "../samples.js";

/** How long is waited for what must come soon; not a measure of speed. */
const PATIENCE_MS = 10_000;
const HOUR = 3_600_000;

/** A watch that has begun to hear. */
interface Watch {
  /** How often it has told since it began. */
  told(): number;
  /** The epoch, asked for when it told last. */
  epoch(): Promise<Epoch>;
  /** Resolves when it has told `times` since it began. */
  hasTold(times: number): Promise<void>;
  stop(): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
}

/** Answers nothing where the store does not tell. */
async function watch(t: CheckContext, store: SegmentStore): Promise<Watch | undefined> {
  if (store.watchEpoch === undefined) return undefined;
  const stop = new AbortController();
  let told = -1;
  let onTold = () => {};
  let epoch: Promise<Epoch> = Promise.resolve("");
  const onMoved = () => {
    told++;
    epoch = store.getEpoch();
    epoch.catch(() => {});
    onTold();
  };
  const ended = store.watchEpoch(onMoved, stop.signal);
  // Who waits for it hears of it; nobody waits for one that a failed check has left behind.
  ended.catch(() => {});
  const reach = (times: number) =>
    new Promise<void>((resolve) => {
      onTold = () => {
        if (told >= times) resolve();
      };
      onTold();
    });
  await within(t, "a watch neither told that it has begun nor ended", Promise.race([reach(0), ended]));
  if (told < 0) return undefined;
  return {
    told: () => told,
    epoch: () => epoch,
    hasTold: (times) => within(t, "a watch was not told of a write", reach(times)),
    stop: () => stop.abort(),
    ended,
  };
}

async function within<T>(t: CheckContext, failure: string, event: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const outOfPatience = new Promise<never>((_, reject) => {
    const fail = () => reject(new assert.AssertionError({ message: failure }));
    timer = setTimeout(fail, Math.min(PATIENCE_MS, t.timeoutMs / 3));
  });
  try {
    return await Promise.race([event, outOfPatience]);
  } finally {
    clearTimeout(timer);
  }
}

export const watchingChecks: readonly Check[] = [
  {
    name: "a watch tells of what any handle puts, when it is there",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const watches = await Promise.all([watch(t, store), watch(t, other), watch(t, await t.open())]);
      for (const [i, handle] of [store, other, other, store].entries()) {
        await handle.putSegment(sampleSegment(`segment-${i}`), undefined);
        for (const begun of watches) {
          await begun?.hasTold(i + 1);
          if (begun !== undefined) assert.equal(await begun.epoch(), await handle.getEpoch());
        }
      }
      for (const begun of watches) begun?.stop();
    },
  },
  {
    name: "a watch tells of nothing in another environment",
    promise: "isolation",
    async run(t) {
      const names = ["prod", "Prod", "prod2", "pro", "production.a"];
      const stores = await Promise.all(names.map((name) => t.open(name)));
      const watches = await Promise.all(stores.map((store) => watch(t, store)));
      for (const [i, store] of stores.entries()) {
        await store.putSegment(sampleSegment("audience"), undefined);
        await watches[i]?.hasTold(1);
      }
      // What one environment has told to another came before the last write.
      const told = watches.map((begun) => begun?.told());
      assert.deepEqual(
        told,
        watches.map((begun) => (begun === undefined ? undefined : 1)),
      );
    },
  },
  {
    name: "a watch ends when its signal fires and when its handle is closed, and tells no more",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const witness = await watch(t, await t.open());
      const stopped = await watch(t, store);
      const closed = await watch(t, other);
      stopped?.stop();
      if (stopped !== undefined) await within(t, "a watch goes on when its signal has fired", stopped.ended);
      await other.close();
      if (closed !== undefined) await within(t, "a watch outlives its handle", closed.ended);
      const before = [stopped?.told(), closed?.told()];
      await store.putSegment(sampleSegment("audience"), undefined);
      await witness?.hasTold(1);
      assert.deepEqual([stopped?.told(), closed?.told()], before);
      // One that was stopped takes nothing from the next.
      const again = await watch(t, store);
      await store.putSegment(sampleSegment("other"), undefined);
      await again?.hasTold(1);
      assert.equal((await store.getSegment(keyOf("audience")))?.key, "audience");
    },
  },
  {
    name: "a reader that is told sees a snapshot without a poll",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const begun = await watch(t, store);
      begun?.stop();
      if (begun === undefined) return;
      await begun.ended;
      const rollcall = await t.rollcall(other);
      await rollcall.replace(AUDIENCE, { included: ["ada"] });
      const reader = await t.reader(store, { pollMs: HOUR, maxRegistryAgeMs: 2 * HOUR, cacheTtlMs: 2 * HOUR });
      const isMember = async (key: string) => (await reader.isMember(AUDIENCE, { kind: "user", key })).member;
      for (const [next, former] of [
        ["grace", "ada"],
        ["ada", "grace"],
      ] as const) {
        assert.equal(await isMember(former), true);
        await rollcall.replace(AUDIENCE, { included: [next] });
        const seen = async () => {
          while (!(await isMember(next))) await new Promise((resolve) => setTimeout(resolve, 5));
        };
        await within(t, "a reader that is told goes on without the snapshot", seen());
        assert.equal(await isMember(former), false);
      }
    },
  },
];
