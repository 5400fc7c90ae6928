// A server that has no room left in the middle of a sync: on its disk, or in its memory.

import { afterEach, describe, expect, it } from "vitest";
import { until } from "../containers/deadline.js";
import { MODES, type Mode } from "./change.js";
import { type FaultHarness, startLine } from "./line.js";
import { expectApplied, expectRefused, expectState, quickRollcall, sync, type Trial } from "./trial.js";
import { watchSegment } from "./watching-reader.js";

/** What {@link fullFaults} needs. */
export interface FullHarness extends FaultHarness {
  /** From now on the server has no room for more. */
  takeRoom(): Promise<unknown>;
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
      const { calm, trial, reader } = line;
      const outcome = await line.syncUntilFull(trial);
      expectRefused(outcome, "store_full");
      expect(outcome.error?.retryable).toBe(false);
      await reader.look();
      // Again, while it is full from the start.
      expectRefused(await sync(quickRollcall(calm), trial), "store_full");
      await giveRoom();
      expectApplied(await sync(quickRollcall(calm), trial));
      await reader.expectOnly(trial.after);
      expect(reader.statuses).toEqual(new Set(["healthy"]));
      await expectState(calm, trial.segmentKey, trial.after);
    });
  });

  describe("while there is no room", () => {
    it("a sweep drops what was replaced", async () => {
      await using line = await startFilling(harness, "replace");
      const { calm, trial, reader } = line;
      expectApplied(await sync(quickRollcall(calm), trial));
      await reader.stop();
      await takeRoom();
      expect(await quickRollcall(calm, { graceMs: 0 }).sweep()).toEqual({ droppedSets: 1, waitingSets: 0 });
      expect(await calm.listMemberSets()).toHaveLength(1);
      await giveRoom();
      await expectState(calm, trial.segmentKey, trial.after);
    });

    it("a sweep takes what it dropped out of the record of the segment", async () => {
      await using line = await startFilling(harness, "replace");
      const { calm, trial, reader } = line;
      for (let time = 0; time < 2; time++) expectApplied(await sync(quickRollcall(calm), trial));
      await reader.stop();
      await takeRoom();
      const sweeper = quickRollcall(calm, { graceMs: 0 });
      expect((await sweeper.getSegment(trial.segmentKey))?.retired).toHaveLength(2);
      expect(await sweeper.sweep()).toEqual({ droppedSets: 2, waitingSets: 0 });
      expect((await sweeper.getSegment(trial.segmentKey))?.retired).toEqual([]);
      expect(await sweeper.sweep()).toEqual({ droppedSets: 0, waitingSets: 0 });
      // What was dropped made no room yet.
      expectRefused(await sync(quickRollcall(calm), trial), "store_full");
      await giveRoom();
      await expectState(calm, trial.segmentKey, trial.after);
    });

    it("a sweep drops what a snapshot wrote that ran out of it", async () => {
      await using line = await startFilling(harness, "replace");
      const { calm, trial, reader } = line;
      expectRefused(await line.syncUntilFull(trial), "store_full");
      await reader.stop();
      // The lease could not be given back, so it has to expire.
      const sweeper = quickRollcall(calm);
      await until("the sweep finds the set", async () => (await sweeper.sweep()).droppedSets === 1);
      expect(await calm.listMemberSets()).toHaveLength(1);
      await giveRoom();
      await expectState(calm, trial.segmentKey, trial.before);
    });
  });
}

/** A line whose reader reaches the server directly, and which is held while room is taken. */
async function startFilling(harness: FullHarness, mode: Mode) {
  const line = await startLine(harness, mode, 10_000);
  await line.reader.stop();
  const { proxy, store, calm, trial } = line;
  const reader = await watchSegment(calm, trial.segmentKey, trial);
  return {
    calm,
    trial,
    reader,
    /** Runs the sync, and has room run out in the middle of it. */
    syncUntilFull: (one: Trial) =>
      sync(quickRollcall(store), one, async () => {
        proxy.freeze();
        await harness.takeRoom();
        await proxy.resume();
      }),
    async [Symbol.asyncDispose]() {
      await reader.stop();
      await line[Symbol.asyncDispose]();
    },
  };
}
