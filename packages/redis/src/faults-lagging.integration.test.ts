// A primary that dies in the middle of a sync, and a replica that takes over without what it acknowledged last.

import { startRedisSentinel, until } from "@rollcall/conformance/containers";
import {
  endOf,
  expectApplied,
  expectLoss,
  expectRefused,
  expectState,
  forgetSwallowed,
  MODES,
  openInSmallSteps,
  quickRollcall,
  startLine,
  swallowReplies,
  syncWithLoss,
} from "@rollcall/conformance/faults";
import { expect, it } from "vitest";
import { reaching } from "./fault-line.test-setup.js";

const timeout = 120_000;

it.each(MODES)("takes over in the middle of a %s, which is not acknowledged by it", { timeout }, async (mode) => {
  await using pair = await startPair();
  const harness = reaching(() => pair.primary);
  await using line = await startLine(harness, mode);
  const { store, trial, reader, proxy, place } = line;
  const outcome = await syncWithLoss(store, trial, {
    leaveBehind: pair.leaveBehind,
    async takeOver() {
      swallowReplies(proxy);
      await pair.kill();
      proxy.redirect(pair.replica);
      await forgetSwallowed(proxy);
    },
  });
  expectRefused(outcome, "stale_lease");
  await using survivor = await openInSmallSteps(harness.createStore(pair.replica, { place, timeoutMs: 2_000 }));
  await expectLoss(survivor, trial);
  expect((await quickRollcall(survivor).getSegment(trial.segmentKey))?.included.count.exact).toBe(mode === "replace");
  expectApplied(await endOf(outcome, quickRollcall(store), trial));
  await reader.expectOnly(trial.after);
  await expectState(survivor, trial.segmentKey, trial.after);
});

/** A primary and its replica, of which nobody takes care. */
async function startPair() {
  const sentinel = await startRedisSentinel();
  const { kill, cli, ports, natMap, stop } = sentinel;
  await kill(ports.sentinel);
  const [first, second] = ports.data;
  const addressOf = (port: number) => {
    const address = Object.entries(natMap).find(([name]) => name.endsWith(`:${port}`))?.[1];
    if (address === undefined) throw new Error(`nothing is known of port ${port}`);
    return address;
  };
  const offset = async (port: number) =>
    /master_repl_offset:(\d+)/.exec(await cli(port, "info", "replication"))?.[1] ?? "";
  return {
    primary: addressOf(first),
    replica: addressOf(second),
    /** Makes a primary of the replica with what it has by now: to whoever comes later that is the same as to lag and then take over. */
    async leaveBehind() {
      const sent = Number(await offset(first));
      await until("the replica has what was written", async () => Number(await offset(second)) >= sent);
      await cli(second, "replicaof", "no", "one");
    },
    kill: () => kill(first),
    [Symbol.asyncDispose]: stop,
  };
}
