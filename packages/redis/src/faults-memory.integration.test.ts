// A server that runs out of memory, or forgets its scripts, in the middle of a sync.

import { randomUUID } from "node:crypto";
import { type RedisServer, startRedisServer, until } from "@rollcall/conformance/containers";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { MODES, type Mode } from "./fault-audience.test-setup.js";
import { openAt } from "./fault-line.test-setup.js";
import { watchSegment } from "./fault-reader.test-setup.js";
import {
  expectApplied,
  expectRefused,
  expectState,
  quickRollcall,
  startTrial,
  sync,
} from "./fault-trial.test-setup.js";

let server: RedisServer;
let operator: Redis;
beforeAll(async () => {
  server = await startRedisServer({ args: ["--maxmemory-policy", "noeviction"] });
  operator = new Redis({ host: server.host, port: server.port });
});
afterEach(() => giveMemory());
afterAll(async () => {
  operator.disconnect();
  await server.stop();
});

const giveMemory = () => operator.config("SET", "maxmemory", "0");
const takeMemory = () => operator.config("SET", "maxmemory", "1");

describe.each(MODES)("during a %s", (mode) => {
  it("memory may run out; readers go on, and the repeat succeeds when there is more", async () => {
    await using line = await startLine(mode);
    const { store, trial, reader } = line;
    const outcome = await sync(quickRollcall(store), trial, takeMemory);
    expectRefused(outcome, "store_full");
    expect(outcome.error?.retryable).toBe(false);
    await reader.look();
    // Again, while it is full from the start.
    expectRefused(await sync(quickRollcall(store), trial), "store_full");
    await giveMemory();
    expectApplied(await sync(quickRollcall(store), trial));
    await reader.expectOnly(trial.after);
    expect(reader.statuses).toEqual(new Set(["healthy"]));
    await expectState(store, trial.segmentKey, trial.after);
  });

  it("scripts may be forgotten", async () => {
    await using line = await startLine(mode);
    const { store, trial, reader } = line;
    const outcome = await sync(quickRollcall(store), trial, () => operator.script("FLUSH"));
    expectApplied(outcome);
    expect(store.failures).toEqual([]);
    expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
    await reader.expectOnly(trial.after);
    await expectState(store, trial.segmentKey, trial.after);
  });
});

describe("while memory is full", () => {
  it("a sweep drops what was replaced", async () => {
    await using line = await startLine("replace");
    const { store, trial, reader } = line;
    expectApplied(await sync(quickRollcall(store), trial));
    await reader.stop();
    await takeMemory();
    expect(await quickRollcall(store, { graceMs: 0 }).sweep()).toEqual({ droppedSets: 1, waitingSets: 0 });
    expect(await store.listMemberSets()).toHaveLength(1);
    await giveMemory();
    await expectState(store, trial.segmentKey, trial.after);
  });

  it("a sweep takes what it dropped out of the record of the segment", async () => {
    await using line = await startLine("replace");
    const { store, trial, reader } = line;
    for (let time = 0; time < 2; time++) expectApplied(await sync(quickRollcall(store), trial));
    await reader.stop();
    await takeMemory();
    const sweeper = quickRollcall(store, { graceMs: 0 });
    expect((await sweeper.getSegment(trial.segmentKey))?.retired).toHaveLength(2);
    expect(await sweeper.sweep()).toEqual({ droppedSets: 2, waitingSets: 0 });
    expect((await sweeper.getSegment(trial.segmentKey))?.retired).toEqual([]);
    expect(await sweeper.sweep()).toEqual({ droppedSets: 0, waitingSets: 0 });
    // Memory is as full as it was.
    expectRefused(await sync(quickRollcall(store), trial), "store_full");
    await giveMemory();
    await expectState(store, trial.segmentKey, trial.after);
  });

  it("a sweep drops what a snapshot wrote that ran out of it", async () => {
    await using line = await startLine("replace");
    const { store, trial, reader } = line;
    expectRefused(await sync(quickRollcall(store), trial, takeMemory), "store_full");
    await reader.stop();
    // The lease could not be given back, so it has to expire.
    const sweeper = quickRollcall(store);
    await until("the sweep finds the set", async () => (await sweeper.sweep()).droppedSets === 1);
    expect(await store.listMemberSets()).toHaveLength(1);
    await giveMemory();
    await expectState(store, trial.segmentKey, trial.before);
  });
});

/** A segment, a store and a reader. */
async function startLine(mode: Mode) {
  const store = await openAt(server, { prefix: randomUUID() });
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
