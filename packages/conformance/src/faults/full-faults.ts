// A server that has no room left in the middle of a sync: on its disk, or in its memory.

import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, it } from "vitest";
import { until } from "../containers/deadline.js";
import { MODES, type Mode } from "./change.js";
import type { FaultHarness } from "./line.js";
import {
  expectApplied,
  expectRefused,
  expectState,
  openInSmallSteps,
  quickRollcall,
  startTrial,
  sync,
  syncHeld,
} from "./trial.js";
import { watchSegment } from "./watching-reader.js";

/** What {@link fullFaults} needs. */
export interface FullHarness extends FaultHarness {
  /** From now on the server has no room for what a sync of this mode writes. */
  takeRoom(mode: Mode): Promise<unknown>;
  /** It has again. Harmless where it has already. */
  giveRoom(): Promise<unknown>;
}

/** Registers the tests of an adapter on a server without room. */
export function fullFaults(harness: FullHarness): void {
  const { takeRoom, giveRoom } = harness;
  afterEach(async () => {
    await giveRoom();
  });

  describe.each(MODES)("during a %s", (mode) => {
    it("room may run out; readers go on, and the repeat succeeds when there is more", async () => {
      await using line = await startFilling(harness, mode);
      const { store, trial, reader } = line;
      const outcome = await syncHeld(store, trial, () => takeRoom(mode));
      expectRefused(outcome, "store_full");
      expect(outcome.error?.retryable).toBe(false);
      await reader.look();
      // Again, while it is full from the start.
      expectRefused(await sync(quickRollcall(store), trial), "store_full");
      await giveRoom();
      expectApplied(await sync(quickRollcall(store), trial));
      await reader.expectOnly(trial.after);
      expect(reader.statuses).toEqual(new Set(["healthy"]));
      await expectState(store, trial.segmentKey, trial.after);
    });
  });

  describe("while there is no room", () => {
    it("a sweep drops what was replaced", async () => {
      await using line = await startFilling(harness, "replace");
      const { store, trial, reader } = line;
      expectApplied(await sync(quickRollcall(store), trial));
      await reader.stop();
      await takeRoom("replace");
      expect(await quickRollcall(store, { graceMs: 0 }).sweep()).toEqual({ droppedSets: 1, waitingSets: 0 });
      expect(await store.listMemberSets()).toHaveLength(1);
      await giveRoom();
      await expectState(store, trial.segmentKey, trial.after);
    });

    it("a sweep takes what it dropped out of the record of the segment", async () => {
      await using line = await startFilling(harness, "replace");
      const { store, trial, reader } = line;
      for (let time = 0; time < 2; time++) expectApplied(await sync(quickRollcall(store), trial));
      await reader.stop();
      await takeRoom("replace");
      const sweeper = quickRollcall(store, { graceMs: 0 });
      expect((await sweeper.getSegment(trial.segmentKey))?.retired).toHaveLength(2);
      expect(await sweeper.sweep()).toEqual({ droppedSets: 2, waitingSets: 0 });
      expect((await sweeper.getSegment(trial.segmentKey))?.retired).toEqual([]);
      expect(await sweeper.sweep()).toEqual({ droppedSets: 0, waitingSets: 0 });
      // What was dropped made no room yet.
      expectRefused(await sync(quickRollcall(store), trial), "store_full");
      await giveRoom();
      await expectState(store, trial.segmentKey, trial.after);
    });

    it("a sweep drops what a snapshot wrote that ran out of it", async () => {
      await using line = await startFilling(harness, "replace");
      const { store, trial, reader } = line;
      expectRefused(await syncHeld(store, trial, () => takeRoom("replace")), "store_full");
      await reader.stop();
      // The lease could not be given back, so it has to expire.
      const sweeper = quickRollcall(store);
      await until("the sweep finds the set", async () => (await sweeper.sweep()).droppedSets === 1);
      expect(await store.listMemberSets()).toHaveLength(1);
      await giveRoom();
      await expectState(store, trial.segmentKey, trial.before);
    });
  });
}

/** A segment, and a store and a reader that reach the server directly. */
async function startFilling({ server, createStore }: FullHarness, mode: Mode) {
  const store = await openInSmallSteps(createStore(server(), { place: randomUUID(), timeoutMs: 10_000 }));
  const trial = await startTrial(store, mode);
  const reader = await watchSegment(store, trial.segmentKey, trial);
  return {
    store,
    trial,
    reader,
    async [Symbol.asyncDispose]() {
      await reader.stop();
      await store.close();
    },
  };
}
