// A server that dies in the middle of a sync and comes back with everything that it had acknowledged.

import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import type { Address } from "../containers/container.js";
import { MODES } from "./change.js";
import { type brokenServer, type FaultHarness, TIMEOUT_MS } from "./line.js";
import {
  endOf,
  expectApplied,
  expectRefused,
  expectState,
  openInSmallSteps,
  quickRollcall,
  startTrial,
  sync,
} from "./trial.js";
import { watchSegment } from "./watching-reader.js";

/** What {@link restartFaults} needs. */
export interface RestartHarness extends Pick<FaultHarness, "createStore"> {
  /** Whether the database does not tell a restart from a loss, so that a sync which meets one has to be repeated. Default `false`. */
  readonly restartEndsSync?: boolean;
}

/** Registers the tests of an adapter on a server that may die: on `broken`, which it shares with other tests of its group. */
export function restartFaults(
  { server, proxy, kill, start }: ReturnType<typeof brokenServer>,
  { createStore, restartEndsSync = false }: RestartHarness,
): void {
  const openAt = (address: Address, place: string) =>
    openInSmallSteps(createStore(address, { place, timeoutMs: TIMEOUT_MS }));

  it.each(MODES)(
    `may die during a %s, which ${restartEndsSync ? "is repeated" : "goes on"} when it is back`,
    async (mode) => {
      const place = randomUUID();
      await using calm = await openAt(server(), place);
      await using store = await openAt(proxy(), place);
      const trial = await startTrial(calm, mode);
      await using reader = await watchSegment(store, trial.segmentKey, trial);
      const outcome = await sync(quickRollcall(store), trial, async () => {
        await kill();
        await start();
      });
      if (restartEndsSync) expectRefused(outcome, "stale_lease");
      else expectApplied(outcome);
      expectApplied(await endOf(outcome, quickRollcall(store), trial));
      expect(store.failures).toContain("writeBlocks store_unavailable");
      await reader.expectOnly(trial.after);
      await expectState(calm, trial.segmentKey, trial.after);
    },
  );

  it.each(MODES)("may stay dead for longer than a %s waits, which another process then repeats", async (mode) => {
    const place = randomUUID();
    await using calm = await openAt(server(), place);
    await using store = await openAt(proxy(), place);
    const trial = await startTrial(calm, mode);
    await using reader = await watchSegment(store, trial.segmentKey, trial);
    expectRefused(await sync(quickRollcall(store, { retry: { retries: 1 } }), trial, kill), "store_unavailable");
    await start();
    await using other = await openAt(server(), place);
    expectApplied(await sync(quickRollcall(other), trial));
    await reader.expectOnly(trial.after);
    await expectState(calm, trial.segmentKey, trial.after);
  });
}
