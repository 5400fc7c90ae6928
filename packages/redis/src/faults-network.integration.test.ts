// A network that breaks in the middle of a sync: connections that are cut, refused, slow, silent or half closed, and replies that are
// lost where it matters most.

import { randomUUID } from "node:crypto";
import { startTcpProxy, type TcpProxy, until } from "@rollcall/conformance/containers";
import type { RollcallOptions } from "@rollcall/core";
import { describe, expect, inject, it } from "vitest";
import { MODES, type Mode } from "./fault-audience.test-setup.js";
import { openAt } from "./fault-line.test-setup.js";
import { watchSegment } from "./fault-reader.test-setup.js";
import {
  expectApplied,
  expectRefused,
  expectState,
  newTrial,
  nextOf,
  quickRollcall,
  startTrial,
  sync,
} from "./fault-trial.test-setup.js";
import type { RedisStoreOptions } from "./index.js";
import * as scripts from "./script.js";

/** Gives up after one repeat. */
const GIVE_UP: RollcallOptions = { retry: { retries: 1, minDelayMs: 20 } };

describe.each(MODES)("during a %s", (mode) => {
  it("connections may be cut", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    expectApplied(await sync(quickRollcall(store), trial, () => proxy.cut()));
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await line.expectEnd();
  });

  it("connections may be cut, and refused for a while", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    const outcome = await sync(quickRollcall(store), trial, async () => {
      proxy.cut({ newOnes: "refused" });
      await until("attempts have been refused", () => store.failures.length > 4);
      await proxy.resume();
    });
    expectApplied(outcome);
    await line.expectEnd();
  });

  it("connections may be cut, and refused until it gives up", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    const outcome = await sync(quickRollcall(store, GIVE_UP), trial, () => proxy.cut({ newOnes: "refused" }));
    expectRefused(outcome, "store_unavailable");
    await proxy.resume();
    expectApplied(await sync(quickRollcall(store), trial));
    await line.expectEnd();
  });

  it("the server may half close connections", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    expectApplied(await sync(quickRollcall(store), trial, () => proxy.halfClose()));
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await line.expectEnd();
  });

  it("the reply to a write of members may be lost", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    expectApplied(await sync(quickRollcall(store), trial, () => loseReply(proxy, scripts.writeBlocks.sha1)));
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await line.expectEnd();
  });

  it("the reply to its last write may be lost", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    const outcome = await sync(quickRollcall(store), trial, () =>
      loseReply(proxy, /"lease":\{"token":\d+,"expiresAt":0\}/),
    );
    expectApplied(outcome);
    expect(store.failures).toContain("putSegment store_unavailable");
    // Its own note in the record says that it was done.
    expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
    await line.expectEnd();
  });

  it.each([
    ["its number", scripts.allocateSet.sha1],
    ["its fences", "hsetnx"],
  ])("the reply to a new set's allocation of %s may be lost", async (_, request) => {
    const prefix = randomUUID();
    await using proxy = await startTcpProxy(inject("redisServer"));
    await using store = await openAt(proxy, { prefix });
    const trial = newTrial(mode);
    const rollcall = quickRollcall(store);
    await rollcall.initialize();
    loseReply(proxy, request);
    expectApplied(await sync(rollcall, trial));
    expect(store.failures).toContain("allocateMemberSet store_unavailable");
    await expectState(store, trial.segmentKey, trial.after);
  });

  it("the line may become slow", async () => {
    await using line = await startLine(mode);
    const { proxy, store, trial } = line;
    const outcome = await sync(quickRollcall(store), trial, async () => {
      proxy.delay(150);
      await line.reader.look();
      await proxy.resume();
    });
    expectApplied(outcome);
    expect(store.failures).toEqual([]);
    expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
    await line.expectEnd();
  });

  it("the line may become slower than it waits for an answer", async () => {
    await using line = await startLine(mode, { timeoutMs: 200 });
    const { proxy, store, trial } = line;
    expectRefused(await sync(quickRollcall(store, GIVE_UP), trial, () => proxy.delay(400)), "store_unavailable");
    await proxy.resume();
    expectApplied(await sync(quickRollcall(store), trial));
    await line.expectEnd();
  });

  it("the server may fall silent for good", async () => {
    await using line = await startLine(mode, { timeoutMs: 200 });
    const { proxy, store, trial } = line;
    const silence = () => proxy.freeze({ bytes: "swallowed" });
    expectRefused(await sync(quickRollcall(store, GIVE_UP), trial, silence), "store_unavailable");
    await proxy.resume();
    expectApplied(await sync(quickRollcall(store), trial));
    await line.expectEnd();
  });

  it("the server may fall silent, and be told later what others have undone meanwhile", async () => {
    await using line = await startLine(mode, { timeoutMs: 200 });
    const { proxy, store, calm, trial } = line;
    expectRefused(await sync(quickRollcall(store, GIVE_UP), trial, () => proxy.freeze()), "store_unavailable");
    expect(proxy.connections).toBeGreaterThan(0);
    const other = quickRollcall(calm);
    expectApplied(await sync(other, trial));
    const next = nextOf(trial);
    expectApplied(await sync(other, next));
    await other.sweep();
    await line.reader.stop();
    line.reader.expectNothingWrong();
    await store.close();

    const replies: Buffer[] = [];
    const resumed = proxy.resume();
    proxy.onReply((reply) => {
      replies.push(reply);
      return reply;
    });
    await resumed;
    await until("the server has read what was held", () => proxy.connections === 0);
    // The delta took the set over, the snapshot's own set was dropped by the sweep.
    expect(String(Buffer.concat(replies))).toContain(mode === "merge" ? "newer" : "dropped");
    await expectState(calm, next.segmentKey, next.after);
  });
});

/** A segment, and a store and a reader that reach it through a proxy. */
async function startLine(mode: Mode, options: RedisStoreOptions = {}) {
  const prefix = randomUUID();
  const proxy = await startTcpProxy(inject("redisServer"));
  const calm = await openAt(inject("redisServer"), { prefix });
  const store = await openAt(proxy, { prefix, ...options });
  const trial = await startTrial(calm, mode);
  const reader = await watchSegment(store, trial.segmentKey, trial);
  return {
    proxy,
    calm,
    store,
    trial,
    reader,
    async expectEnd() {
      await reader.expectOnly(trial.after);
      await expectState(calm, trial.segmentKey, trial.after);
    },
    async [Symbol.asyncDispose]() {
      await reader.stop();
      await store.close();
      await calm.close();
      await proxy.close();
    },
  };
}

/** Loses the reply to the next request that holds `what`, once. */
function loseReply(proxy: TcpProxy, what: string | RegExp): void {
  let isLost = false;
  proxy.dropReplies({
    after(request) {
      const isIt = !isLost && request.toString("latin1").search(what) >= 0;
      isLost ||= isIt;
      return isIt;
    },
  });
}
