// A primary that dies in the middle of a sync, and a standby that takes over: one that commits wait for, which has all that was
// acknowledged, and one that lags, which has all of it up to some moment.

import {
  type PostgresServer,
  type PostgresStandby,
  startPostgresServer,
  until,
} from "@rollcall/conformance/containers";
import {
  brokenServer,
  endOf,
  expectApplied,
  expectLoss,
  expectRefused,
  expectState,
  forgetSwallowed,
  type Members,
  MODES,
  type Mode,
  membersIn,
  newTrial,
  openInSmallSteps,
  quickRollcall,
  startLine,
  swallowReplies,
  sync,
  syncHeld,
  syncWithLoss,
  type Trial,
  UNIVERSE,
} from "@rollcall/conformance/faults";
import { createSegmentReader, type SegmentReader } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { reaching } from "./fault-line.test-setup.js";

const timeout = 120_000;

describe("a standby that commits wait for", () => {
  it.each(MODES)("takes over in the middle of a %s, and nothing acknowledged is lost", { timeout }, async (mode) => {
    await using pair = await startPair("synchronous", mode);
    const { line, takeOver } = pair;
    const { store, trial, reader } = line;
    const outcome = await sync(quickRollcall(store), trial, takeOver);
    expect(store.failures).toContain("writeBlocks store_unavailable");
    expectApplied(await endOf(outcome, quickRollcall(store), trial));
    await reader.expectOnly(trial.after);
    await using survivor = await pair.openSurvivor();
    await expectState(survivor, trial.segmentKey, trial.after);
  });

  describe("and that may go away", () => {
    const { server } = brokenServer(() => startPostgresServer({ standby: "synchronous" }));
    const harness = reaching(server, { schema: "rollcall" });

    it.each(MODES)("holds a %s up, which is not acknowledged before it is back", { timeout }, async (mode) => {
      await using line = await startLine(harness, mode, 500);
      const { store, trial } = line;
      const standby = server().standby as PostgresStandby;
      const outcome = await syncHeld(store, trial, () => standby.kill(), { retry: { retries: 1, minDelayMs: 20 } });
      expectRefused(outcome, "store_unavailable");
      await standby.start();
      expectApplied(await endOf(outcome, quickRollcall(store), trial));
      await line.expectEnd();
    });
  });
});

describe("a standby that lags", () => {
  it.each(MODES)("takes over after a %s, and has a former state of the whole", { timeout }, async (mode) => {
    await using pair = await startPair("asynchronous", mode);
    const { line, standby, takeOver } = pair;
    const { store, trial } = line;
    const reader = createSegmentReader({ store, pollMs: 20, cacheTtlMs: 40 });
    const later = newTrial("replace");
    await standby.caughtUp();
    expectApplied(await syncHeld(store, trial, () => standby.detach()));
    expectApplied(await sync(quickRollcall(store), later));
    await line.reader.expectOnly(trial.after);
    await expectAnswers(reader, trial, trial.after);
    await takeOver();

    await using survivor = await pair.openSurvivor();
    expect(await quickRollcall(survivor).getSegment(later.segmentKey)).toBeUndefined();
    const members = await membersIn(survivor, trial.segmentKey);
    const changes = [...trial.before, ...trial.after].filter((key) => trial.before.has(key) !== trial.after.has(key));
    // What was written before the standby lost sight of it is there, of a snapshot where nobody looks.
    expect(changes.filter((key) => members.has(key) === trial.after.has(key)).length > 0).toBe(mode === "merge");
    expect(changes.some((key) => members.has(key) === trial.before.has(key))).toBe(true);
    const others = [...trial.before].filter((key) => trial.after.has(key));
    expect(others.filter((key) => !members.has(key))).toEqual([]);
    expect([...members].filter((key) => !trial.before.has(key) && !trial.after.has(key))).toEqual([]);
    // A reader that had seen what is lost goes back with the server.
    await until("the survivor answers", () => store.getEpoch());
    await expectAnswers(reader, trial, members);

    for (const repeated of [trial, later]) {
      expectApplied(await sync(quickRollcall(store), repeated));
      await expectAnswers(reader, repeated, repeated.after);
    }
    reader.close();
    await expectState(survivor, trial.segmentKey, trial.after);
    await expectState(survivor, later.segmentKey, later.after);
  });

  it.each(MODES)("takes over in the middle of a %s, which is not acknowledged by it", { timeout }, async (mode) => {
    await using pair = await startPair("asynchronous", mode);
    const { line, standby, takeOver } = pair;
    const { store, trial, reader } = line;
    const outcome = await syncWithLoss(store, trial, {
      async leaveBehind() {
        await standby.caughtUp();
        await standby.detach();
      },
      takeOver,
    });
    expectRefused(outcome, "stale_lease");
    await using survivor = await pair.openSurvivor();
    await expectLoss(survivor, trial);
    expect((await quickRollcall(survivor).getSegment(trial.segmentKey))?.included.count.exact).toBe(mode === "replace");
    expectApplied(await endOf(outcome, quickRollcall(store), trial));
    await reader.expectOnly(trial.after);
    await expectState(survivor, trial.segmentKey, trial.after);
  });
});

/** Asserts what `reader` answers once it has looked at the registry again. */
async function expectAnswers(reader: SegmentReader, { segmentKey }: Trial, members: Members): Promise<void> {
  await reader.refresh();
  const answers = await Promise.all(UNIVERSE.map((key) => reader.isMember(segmentKey, { kind: "user", key })));
  expect(answers.filter(({ status }) => status !== "healthy")).toEqual([]);
  expect(UNIVERSE.filter((_, index) => answers[index]?.member)).toEqual(UNIVERSE.filter((key) => members.has(key)));
}

/** A server with a standby, and a segment on it that is reached by a name which can be given to the standby. */
async function startPair(kind: "asynchronous" | "synchronous", mode: Mode) {
  const server: PostgresServer = await startPostgresServer({ standby: kind });
  const standby = server.standby as PostgresStandby;
  const harness = reaching(() => server, { schema: "rollcall" });
  const line = await startLine(harness, mode, 1_000);
  const { proxy, place } = line;
  return {
    line,
    standby,
    openSurvivor: () => openInSmallSteps(harness.createStore(standby, { place, timeoutMs: 2_000 })),
    /** The server dies; calls on their way to it are done, and nobody hears of it. The standby gets its name. */
    async takeOver() {
      swallowReplies(proxy);
      await server.kill();
      await standby.promote();
      proxy.redirect(standby);
      await forgetSwallowed(proxy);
    },
    async [Symbol.asyncDispose]() {
      await line[Symbol.asyncDispose]();
      await server.stop();
    },
  };
}
