// A server that dies in the middle of a sync and comes back: with everything that it had acknowledged, or with nothing.

import { randomUUID } from "node:crypto";
import { startRedisServer } from "@rollcall/conformance/containers";
import {
  brokenServer,
  expectApplied,
  expectRefused,
  expectState,
  MODES,
  type Mode,
  nextOf,
  quickRollcall,
  restartFaults,
  snapshotInstead,
  startTrial,
  sync,
  watchSegment,
} from "@rollcall/conformance/faults";
import { describe, it } from "vitest";
import { openAt, reaching } from "./fault-line.test-setup.js";

describe("a server that syncs its disk before it answers", () => {
  const broken = brokenServer(() => startRedisServer({ args: ["--appendonly", "yes", "--appendfsync", "always"] }));
  restartFaults(broken, { ...reaching(broken.server), restartEndsSync: true });
});

describe("a server that keeps nothing on disk", () => {
  const { kill, start, server, proxy } = brokenServer(() => startRedisServer());

  /** Opens a handle, and has the server come back with nothing in the middle of a sync. */
  async function loseEverything(mode: Mode) {
    const prefix = randomUUID();
    const store = await openAt(proxy(), { prefix });
    const trial = await startTrial(store, mode);
    const reader = await watchSegment(store, trial.segmentKey, trial);
    const rollcall = quickRollcall(store);
    const outcome = await sync(rollcall, trial, async () => {
      await kill();
      await start();
    });
    expectRefused(outcome, "store_unavailable", "stale_lease", "corrupt_data");
    const dispose = async () => {
      await reader.stop();
      await store.close();
    };
    return { prefix, trial, rollcall, reader, [Symbol.asyncDispose]: dispose };
  }

  it.each(MODES)("is not taken for what it was, after a %s, by a handle that is open", async (mode) => {
    await using lost = await loseEverything(mode);
    expectRefused(await sync(lost.rollcall, lost.trial), "corrupt_data");
    expectRefused(await sync(lost.rollcall, nextOf(lost.trial)), "corrupt_data");
    lost.reader.expectNothingWrong();
  });

  it.each(MODES)("takes the snapshot again by a new handle, after a %s", async (mode) => {
    await using lost = await loseEverything(mode);
    await using store = await openAt(server(), { prefix: lost.prefix });
    const snapshot = snapshotInstead(lost.trial);
    expectApplied(await sync(quickRollcall(store), snapshot));
    await expectState(store, snapshot.segmentKey, snapshot.after);
    lost.reader.expectNothingWrong();
  });

  it("is not written by a handle of an environment that it has lost, when there is another one of that name", async () => {
    await using lost = await loseEverything("merge");
    // With other slots: what the old handle knows of the layout is wrong now.
    await using store = await openAt(server(), { prefix: lost.prefix, slots: 16 });
    expectRefused(await sync(lost.rollcall, lost.trial), "corrupt_data", "layout_mismatch");
    const snapshot = snapshotInstead(lost.trial);
    expectApplied(await sync(quickRollcall(store), snapshot));
    await lost.reader.look();
    lost.reader.expectNothingWrong();
    await expectState(store, snapshot.segmentKey, snapshot.after);
  });
});
