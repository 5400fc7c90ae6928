// A network that breaks in the middle of a sync: connections that are cut, refused, slow, silent or half closed, and replies that are
// lost where it matters most.

import { randomUUID } from "node:crypto";
import type { FenceRefusal, RollcallOptions } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { until } from "../containers/deadline.js";
import { startTcpProxy } from "../tcp-proxy.js";
import { MODES, type Mode } from "./change.js";
import { type FaultHarness, holds, loseReply, startLine, TIMEOUT_MS } from "./line.js";
import {
  expectApplied,
  expectRefused,
  expectState,
  newTrial,
  nextOf,
  openInSmallSteps,
  quickRollcall,
  sync,
} from "./trial.js";

/** What {@link networkFaults} needs. */
export interface NetworkHarness extends FaultHarness {
  /** What stands in the requests, so that their replies can be lost. */
  readonly requests: {
    /** In one that writes members. */
    readonly writeBlocks: string | RegExp;
    /** In each that an allocation makes, by what it is for: "its number". */
    readonly allocateMemberSet: readonly (readonly [what: string, request: string | RegExp])[];
  };
  /**
   * What the server answers to a write of members that comes too late: after a newer writer took the set over in the middle of a merge, and
   * after the set of a replace was dropped. `undefined` where a fence by block lets it into a set that nobody reads any more. Default: the
   * refusals of a fence.
   */
  readonly refusals?: Readonly<Record<Mode, string | undefined>>;
}

/** Gives up after one repeat. */
const GIVE_UP: RollcallOptions = { retry: { retries: 1, minDelayMs: 20 } };

/** The record of a segment whose lease was just given back, as JSON or as JSON in JSON. */
const FINISH = /\\?"lease\\?":\{\\?"token\\?":\d+,\\?"expiresAt\\?":0\}/;

/** Registers the tests of an adapter behind a network that breaks. */
export function networkFaults(harness: NetworkHarness): void {
  describe.each(MODES)("during a %s", (mode) => {
    it("connections may be cut", async () => {
      await using line = await startLine(harness, mode);
      const { proxy, store, trial } = line;
      expectApplied(await sync(quickRollcall(store), trial, () => proxy.cut()));
      expect(store.failures).toContain("writeBlocks store_unavailable");
      await line.expectEnd();
    });

    it("connections may be cut, and refused for a while", async () => {
      await using line = await startLine(harness, mode);
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
      await using line = await startLine(harness, mode);
      const { proxy, store, trial } = line;
      const outcome = await sync(quickRollcall(store, GIVE_UP), trial, () => proxy.cut({ newOnes: "refused" }));
      expectRefused(outcome, "store_unavailable");
      await proxy.resume();
      expectApplied(await sync(quickRollcall(store), trial));
      await line.expectEnd();
    });

    it("the server may half close connections", async () => {
      await using line = await startLine(harness, mode);
      const { proxy, store, trial } = line;
      expectApplied(await sync(quickRollcall(store), trial, () => proxy.halfClose()));
      expect(store.failures).toContain("writeBlocks store_unavailable");
      await line.expectEnd();
    });

    it("the reply to a write of members may be lost", async () => {
      await using line = await startLine(harness, mode);
      const { proxy, store, trial } = line;
      const { writeBlocks } = harness.requests;
      expectApplied(await sync(quickRollcall(store), trial, () => loseReply(proxy, writeBlocks)));
      expect(store.failures).toContain("writeBlocks store_unavailable");
      await line.expectEnd();
    });

    it("the reply to its last write may be lost", async () => {
      await using line = await startLine(harness, mode);
      const { proxy, store, trial } = line;
      const outcome = await sync(quickRollcall(store), trial, () => loseReply(proxy, FINISH));
      expectApplied(outcome);
      expect(store.failures).toContain("putSegment store_unavailable");
      // Its own note in the record says that it was done.
      expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
      await line.expectEnd();
    });

    it.each(harness.requests.allocateMemberSet)(
      "the reply to a new set's allocation of %s may be lost",
      async (_, request) => {
        await using proxy = await startTcpProxy(harness.server());
        const place = randomUUID();
        await using store = await openInSmallSteps(harness.createStore(proxy, { place, timeoutMs: TIMEOUT_MS }));
        const trial = newTrial(mode);
        const rollcall = quickRollcall(store);
        await rollcall.initialize();
        loseReply(proxy, request);
        expectApplied(await sync(rollcall, trial));
        expect(store.failures).toContain("allocateMemberSet store_unavailable");
        await expectState(store, trial.segmentKey, trial.after);
      },
    );

    it("the line may become slow", async () => {
      await using line = await startLine(harness, mode);
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
      await using line = await startLine(harness, mode, 200);
      const { proxy, store, trial } = line;
      expectRefused(await sync(quickRollcall(store, GIVE_UP), trial, () => proxy.delay(400)), "store_unavailable");
      await proxy.resume();
      expectApplied(await sync(quickRollcall(store), trial));
      await line.expectEnd();
    });

    it("the server may fall silent for good", async () => {
      await using line = await startLine(harness, mode, 200);
      const { proxy, store, trial } = line;
      const silence = () => proxy.freeze({ bytes: "swallowed" });
      expectRefused(await sync(quickRollcall(store, GIVE_UP), trial, silence), "store_unavailable");
      await proxy.resume();
      expectApplied(await sync(quickRollcall(store), trial));
      await line.expectEnd();
    });

    it("the server may fall silent, and be told later what others have undone meanwhile", async () => {
      await using line = await startLine(harness, mode, 200);
      const { proxy, store, calm, trial } = line;
      // At a write of members, whatever else a window has to ask before it.
      const silence = () => proxy.freeze({ at: (request) => holds(request, harness.requests.writeBlocks) });
      expectRefused(await sync(quickRollcall(store, GIVE_UP), trial, silence), "store_unavailable");
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
      const refusal = harness.refusals === undefined ? refusalOf(mode) : harness.refusals[mode];
      if (refusal !== undefined) expect(String(Buffer.concat(replies))).toContain(refusal);
      await expectState(calm, next.segmentKey, next.after);
    });
  });
}

/** The delta took the set over, the snapshot's own set was dropped by the sweep. */
function refusalOf(mode: Mode): FenceRefusal {
  return mode === "merge" ? "newer" : "dropped";
}
