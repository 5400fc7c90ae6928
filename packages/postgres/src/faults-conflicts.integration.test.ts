// Statements that the server undoes for the sake of others: a circle of locks, and an isolation level that takes no turns.

import {
  endOf,
  expectApplied,
  expectState,
  MODES,
  type Mode,
  newTrial,
  quickRollcall,
  startLine,
  sync,
  syncHeld,
} from "@rollcall/conformance/faults";
import { describe, expect, it } from "vitest";
import { ownRole, type SchemaHarness, sqlStates } from "./fault-line.test-setup.js";
import { somebodyIn } from "./somebody.test-setup.js";

describe("a circle of locks", () => {
  const harness = ownRole({});

  it.each(MODES)("is broken at the cost of a statement of a %s, which is repeated", async (mode) => {
    await using line = await startLine(harness, mode, 10_000);
    const { store, trial } = line;
    await using somebody = await somebodyIn({ schema: harness.schema, environment: line.place });
    let circle = Promise.resolve();
    const outcome = await syncHeld(store, trial, async () => {
      await somebody.takeLastBlock();
      circle = (async () => {
        await somebody.waiters();
        // Who waits holds it.
        await somebody.takeFence();
        await somebody.rollback();
      })();
    });
    await circle;
    expectApplied(outcome);
    expect(store.failures).toContain("writeBlocks store_unavailable");
    expect(sqlStates(store.errors)).toContain("40P01");
    await line.expectEnd();
  });
});

describe.each(["repeatable read", "serializable"])("under %s", (isolation) => {
  const harness = ownRole({ default_transaction_isolation: isolation });

  it.each(MODES)("a %s repeats a write of members that met another transaction", async (mode) => {
    await using conflict = await startConflict(harness, mode, "changeFence");
    expectApplied(conflict.outcome);
    expect(conflict.failures).toContain("writeBlocks 40001");
    await conflict.line.expectEnd();
  });

  it.each(MODES)("a %s repeats a write of its record that met another transaction", async (mode) => {
    await using conflict = await startConflict(harness, mode, "changeEnvironment");
    expectApplied(conflict.outcome);
    expect(conflict.failures).toContain("putSegment 40001");
    await conflict.line.expectEnd();
  });

  it("syncs of several segments at once all end", async () => {
    await using line = await startLine(harness, "merge");
    const { calm, store } = line;
    const trials = [line.trial, newTrial("replace"), newTrial("merge"), newTrial("replace")];
    await Promise.all(
      trials.map(async (trial) => {
        const rollcall = quickRollcall(store, { leaseTtlMs: 15_000 });
        expectApplied(await endOf(await sync(rollcall, trial), rollcall, trial));
      }),
    );
    await line.expectEnd();
    for (const { segmentKey, after } of trials) await expectState(calm, segmentKey, after);
  });
});

/** A sync that meets a transaction which commits as soon as it is waited for. */
async function startConflict(harness: SchemaHarness, mode: Mode, change: "changeFence" | "changeEnvironment") {
  const line = await startLine(harness, mode, 10_000);
  const { store, trial } = line;
  await using somebody = await somebodyIn({ schema: harness.schema, environment: line.place });
  let meeting = Promise.resolve();
  const outcome = await syncHeld(store, trial, async () => {
    await somebody[change]();
    meeting = (async () => {
      await somebody.waiters();
      await somebody.commit();
    })();
  });
  await meeting;
  const states = sqlStates(store.errors);
  return {
    line,
    outcome,
    /** Method and SQLSTATE of each call that failed. */
    failures: store.failures.map((failure, index) => `${failure.split(" ")[0]} ${states[index]}`),
    [Symbol.asyncDispose]: () => line[Symbol.asyncDispose](),
  };
}
