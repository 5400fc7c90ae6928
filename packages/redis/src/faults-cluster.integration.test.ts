// A Cluster that changes in the middle of a sync: a primary dies and its replica takes over, slots move to other nodes, a node comes
// back with nothing. Every write is confirmed by the replicas.

import { randomUUID } from "node:crypto";
import { type SlotMove, until } from "@rollcall/conformance/containers";
import {
  endOf,
  expectApplied,
  expectRefused,
  expectState,
  MODES,
  quickRollcall,
  snapshotInstead,
  sync,
} from "@rollcall/conformance/faults";
import { describe, expect, it } from "vitest";
import {
  brokenCluster,
  failOver,
  loseEverythingOf,
  newClient,
  startLine,
  timeout,
  untilWell,
} from "./fault-cluster.test-setup.js";
import { createRedisStore } from "./index.js";

const broken = brokenCluster();

describe.each(MODES)("during a %s", (mode) => {
  it("the primary of the registry and of members may die", { timeout }, async () => {
    await using line = await startLine(broken, mode);
    const { primary } = line.registry;
    const outcome = await sync(quickRollcall(line.store), line.trial, () => failOver(broken, primary));
    expect(line.store.failures.length).toBeGreaterThan(0);
    await line.expectEnd(outcome);
  });

  it("slots of the registry and of members may be half way to another node, and arrive", { timeout }, async () => {
    await using line = await startLine(broken, mode);
    const { registry, members, third } = line;
    const counts = () => Promise.all([redirections(registry.primary), redirections(members.primary)]);
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      for (const proxy of broken.servers.proxies) proxy.freeze();
      const moves = [
        await broken.cluster.beginMove(registry.slot, third),
        await broken.cluster.beginMove(members.slot, third),
      ];
      try {
        // All but one of the keys, so that no script finds all of its own.
        for (const move of moves) expect(await move.migrateKeys((await keysIn(move)) - 1)).toBeGreaterThan(0);
        const before = await counts();
        await Promise.all(broken.servers.proxies.map((proxy) => proxy.resume()));
        await until("calls have met both slots on their way", async () =>
          (await counts()).every((count, index) => count > (before[index] ?? 0)),
        );
      } finally {
        for (const move of moves) {
          while ((await move.migrateKeys()) > 0);
          await move.end();
        }
      }
    });
    await line.expectEnd(outcome);
  });

  it("a slot of members may have moved", { timeout }, async () => {
    await using line = await startLine(broken, mode);
    const outcome = await sync(quickRollcall(line.store), line.trial, async () => {
      for (const proxy of broken.servers.proxies) proxy.freeze();
      await broken.cluster.moveSlot(line.members.slot, line.third);
      await Promise.all(broken.servers.proxies.map((proxy) => proxy.resume()));
    });
    await line.expectEnd(outcome);
  });

  it("a primary of members may come back with nothing, and be filled again", { timeout }, async () => {
    await using line = await startLine(broken, mode);
    const { calm, store, trial, reader } = line;
    const outcome = await sync(quickRollcall(store), trial, () => loseEverythingOf(broken, line.members.primary));
    expectRefused(outcome, "store_unavailable", "stale_lease", "corrupt_data");
    await untilWell(broken, calm, store);
    await reader.look();
    await reader.stop();
    reader.expectNothingWrong();
    const rollcall = quickRollcall(calm);
    if (mode === "merge") expectRefused(await endOf(await sync(rollcall, trial), rollcall, trial), "corrupt_data");
    const snapshot = snapshotInstead(trial);
    expectApplied(await endOf(await sync(rollcall, snapshot), rollcall, snapshot));
    await expectState(calm, snapshot.segmentKey, snapshot.after);
  });
});

describe("a client", () => {
  it("that knows replicas too, and is still connecting, may be handed over", { timeout }, async () => {
    const client = newClient(broken.cluster.natMap);
    const store = createRedisStore(client, { prefix: randomUUID() });
    await store.open();
    expect((await store.getEnvironment()).initialized).toBe(false);
    client.disconnect();
  });
});

async function keysIn({ from, slot }: SlotMove): Promise<number> {
  return Number(await broken.nodes[from]?.cluster("COUNTKEYSINSLOT", slot));
}

/** How often a node has sent clients on, or asked them to try again. */
async function redirections(node: number): Promise<number> {
  const stats = (await broken.nodes[node]?.info("errorstats")) ?? "";
  const counts = stats.matchAll(/^errorstat_(?:ASK|TRYAGAIN):count=(\d+)/gm);
  return Array.from(counts, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0);
}
