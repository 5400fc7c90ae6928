// A server that dies in the middle of a sync and comes back: with everything that it had acknowledged, or with nothing.

import { randomUUID } from "node:crypto";
import { type RedisServer, startRedisServer, startTcpProxy, type TcpProxy } from "@rollcall/conformance/containers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MODES, type Mode } from "./fault-audience.test-setup.js";
import { forgetSwallowed, openAt, swallowReplies } from "./fault-line.test-setup.js";
import { watchSegment } from "./fault-reader.test-setup.js";
import {
  expectApplied,
  expectRefused,
  expectState,
  nextOf,
  quickRollcall,
  snapshotInstead,
  startTrial,
  sync,
} from "./fault-trial.test-setup.js";

describe("a server that syncs its disk before it answers", () => {
  const { kill, start, server, proxy } = brokenServer(["--appendonly", "yes", "--appendfsync", "always"]);

  it.each(MODES)("may die during a %s, which goes on when it is back", async (mode) => {
    const prefix = randomUUID();
    await using calm = await openAt(server(), { prefix });
    await using store = await openAt(proxy(), { prefix });
    const trial = await startTrial(calm, mode);
    await using reader = await watchSegment(store, trial.segmentKey, trial);
    const outcome = await sync(quickRollcall(store), trial, async () => {
      await kill();
      await start();
    });
    expectApplied(outcome);
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await reader.expectOnly(trial.after);
    await expectState(calm, trial.segmentKey, trial.after);
  });

  it.each(MODES)("may stay dead for longer than a %s waits, which another process then repeats", async (mode) => {
    const prefix = randomUUID();
    await using calm = await openAt(server(), { prefix });
    await using store = await openAt(proxy(), { prefix });
    const trial = await startTrial(calm, mode);
    await using reader = await watchSegment(store, trial.segmentKey, trial);
    expectRefused(await sync(quickRollcall(store, { retry: { retries: 1 } }), trial, kill), "store_unavailable");
    await start();
    await using other = await openAt(server(), { prefix });
    expectApplied(await sync(quickRollcall(other), trial));
    await reader.expectOnly(trial.after);
    await expectState(calm, trial.segmentKey, trial.after);
  });
});

describe("a server that keeps nothing on disk", () => {
  const { kill, start, server, proxy } = brokenServer([]);

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

/** One server and a proxy before it for a group of tests. */
function brokenServer(args: readonly string[]) {
  let server: RedisServer;
  let proxy: TcpProxy;
  beforeAll(async () => {
    server = await startRedisServer({ args });
    proxy = await startTcpProxy(server);
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });
  return {
    server: () => server,
    proxy: () => proxy,
    /** Calls on their way are done, and nobody hears of it. */
    async kill() {
      swallowReplies(proxy);
      await server.kill();
    },
    async start() {
      await server.start();
      await forgetSwallowed(proxy);
    },
  };
}
