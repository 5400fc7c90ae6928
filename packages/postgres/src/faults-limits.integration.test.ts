// Limits that a sync runs into: of the time of a statement, of patience, of connections; and people who end statements and connections.

import { expectRefusal } from "@rollcall/conformance";
import { until } from "@rollcall/conformance/containers";
import {
  expectApplied,
  expectRefused,
  expectState,
  MODES,
  nextOf,
  openInSmallSteps,
  quickRollcall,
  startLine,
  startTrial,
  sync,
  syncHeld,
  watchSegment,
} from "@rollcall/conformance/faults";
import type { RollcallOptions } from "@rollcall/core";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { ownRole, ownSchema, type SchemaHarness, sqlStates } from "./fault-line.test-setup.js";
import { createPostgresStore } from "./index.js";
import { admin, SERVER, urlOf } from "./place.test-setup.js";
import { type Somebody, somebodyIn } from "./somebody.test-setup.js";

/** Gives up after one repeat. */
const GIVE_UP: RollcallOptions = { retry: { retries: 1, minDelayMs: 20 } };

describe.each([
  ["statement_timeout", "57014"],
  ["lock_timeout", "55P03"],
])("%s", (setting, code) => {
  const harness = ownRole({ [setting]: "500ms" });

  it.each(MODES)("ends statements of a %s that wait for somebody, and they are repeated", async (mode) => {
    await using line = await startLine(harness, mode);
    const { store } = line;
    const outcome = await syncBehind(harness, line, async (somebody) => {
      await until("a statement was ended", () => sqlStates(store.errors).includes(code));
      await somebody.rollback();
    });
    expectApplied(outcome);
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await line.expectEnd();
  });
});

describe.each([
  ["statement", "pg_cancel_backend", "57014"],
  ["connection", "pg_terminate_backend", "57P01"],
])("a person who ends each %s", (_, end, code) => {
  const harness = ownRole({});

  it.each(MODES)("of a %s that waits for him has it repeated", async (mode) => {
    await using line = await startLine(harness, mode);
    const { store } = line;
    const outcome = await syncBehind(harness, line, async (somebody) => {
      await admin.query(`SELECT ${end}(pid) FROM unnest($1::int[]) AS pid`, [await somebody.waiters()]);
      await until("it was ended", () => sqlStates(store.errors).includes(code));
      await somebody.rollback();
    });
    expectApplied(outcome);
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await line.expectEnd();
  });
});

describe("timeoutMs", () => {
  const harness = ownSchema();

  it.each(MODES)("ends the wait of a %s for a lock, and the call is repeated", async (mode) => {
    await using line = await startLine(harness, mode, 300);
    const { store } = line;
    const outcome = await syncBehind(harness, line, async (somebody) => {
      await until("it was repeated", () => store.failures.length > 1);
      await somebody.rollback();
    });
    expectApplied(outcome);
    await line.expectEnd();
  });

  it.each(MODES)("ends a %s, whose statements still wait on the server when another one comes", async (mode) => {
    await using line = await startLine(harness, mode, 300);
    const { store, calm, trial, place, reader } = line;
    await using somebody = await somebodyIn({ schema: harness.schema, environment: place });
    expectRefused(await syncHeld(store, trial, somebody.takeLastBlock, GIVE_UP), "store_unavailable");
    const other = quickRollcall(calm);
    const repeating = sync(other, trial);
    // A delta has to wait for them, a snapshot goes round them.
    if (mode === "merge") await somebody.takeoverWaits();
    else await repeating;
    await somebody.rollback();
    expectApplied(await repeating);
    await reader.stop();
    reader.expectNothingWrong();
    const next = nextOf(trial);
    expectApplied(await sync(other, next));
    await expectState(calm, next.segmentKey, next.after);
  });
});

describe("connections", () => {
  const harness = ownSchema();
  const narrow = ownRole({}, "CONNECTION LIMIT 1");

  it.each(MODES)("of a pool that others hold are not waited for, and a %s is made when they are free", async (mode) => {
    await using line = await startLine(harness, mode);
    const { trial, place } = line;
    const pool = new pg.Pool({ ...SERVER, max: 1, connectionTimeoutMillis: 200 });
    const held = await pool.connect();
    const unopened = createPostgresStore(pool, { schema: harness.schema, environment: place });
    await expectRefusal(() => unopened.open(), { code: "store_unavailable", remedy: /more of them/ });
    held.release();
    await using store = await openInSmallSteps(unopened);
    await using reader = await watchSegment(store, trial.segmentKey, trial);
    let again: pg.PoolClient | undefined;
    const outcome = await syncHeld(
      store,
      trial,
      async () => {
        again = await until("a connection is free", () => pool.connect());
      },
      GIVE_UP,
    );
    expectRefused(outcome, "store_unavailable");
    await reader.look();
    again?.release();
    expectApplied(await sync(quickRollcall(store), trial));
    await reader.expectOnly(trial.after);
    await line.expectEnd();
    await pool.end();
  });

  it("that the server does not give are not waited for", async () => {
    // The pool wants a second one as soon as two statements are under way.
    const url = urlOf(narrow.schema, { user: narrow.role, password: narrow.role });
    await using store = await openInSmallSteps(createPostgresStore(url));
    await using calm = await openInSmallSteps(createPostgresStore(urlOf(narrow.schema)));
    const trial = await startTrial(calm, "merge");
    expectApplied(await sync(quickRollcall(store), trial));
    expect(sqlStates(store.errors)).toContain("53300");
    await expectState(calm, trial.segmentKey, trial.after);
  });
});

/** The sync of `line`, which has to wait for somebody from the middle on. `meanwhile` ends that. */
async function syncBehind(
  { schema }: SchemaHarness,
  { store, trial, place }: Awaited<ReturnType<typeof startLine>>,
  meanwhile: (somebody: Somebody) => Promise<unknown>,
  options: RollcallOptions = {},
) {
  await using somebody = await somebodyIn({ schema, environment: place });
  let happening: Promise<unknown> = Promise.resolve();
  const outcome = await syncHeld(
    store,
    trial,
    async () => {
      await somebody.takeLastBlock();
      happening = meanwhile(somebody);
    },
    options,
  );
  await happening;
  return outcome;
}
