// A server that runs out of memory, or forgets its scripts, in the middle of a sync.

import { randomUUID } from "node:crypto";
import { type RedisServer, startRedisServer } from "@rollcall/conformance/containers";
import {
  expectApplied,
  expectState,
  fullFaults,
  MODES,
  quickRollcall,
  startTrial,
  sync,
  watchSegment,
} from "@rollcall/conformance/faults";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openAt, reaching } from "./fault-line.test-setup.js";

let server: RedisServer;
let operator: Redis;
beforeAll(async () => {
  server = await startRedisServer({ args: ["--maxmemory-policy", "noeviction"] });
  operator = new Redis({ host: server.host, port: server.port });
});
afterAll(async () => {
  operator.disconnect();
  await server.stop();
});

describe("without memory", () => {
  fullFaults({
    ...reaching(() => server),
    takeRoom: () => operator.config("SET", "maxmemory", "1"),
    giveRoom: () => operator.config("SET", "maxmemory", "0"),
  });
});

describe.each(MODES)("during a %s", (mode) => {
  it("scripts may be forgotten", async () => {
    await using store = await openAt(server, { prefix: randomUUID() });
    const trial = await startTrial(store, mode);
    await using reader = await watchSegment(store, trial.segmentKey, trial);
    const outcome = await sync(quickRollcall(store), trial, () => operator.script("FLUSH"));
    expectApplied(outcome);
    expect(store.failures).toEqual([]);
    expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
    await reader.expectOnly(trial.after);
    await expectState(store, trial.segmentKey, trial.after);
  });
});
