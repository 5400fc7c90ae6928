// How often a call waits for the network.

import { startTcpProxy, type TcpProxy } from "@rollcall/conformance/containers";
import { CONTEXT_HASH_BYTES, type ContextHashes, contextHash, type MemberSet } from "@rollcall/core";
import { describe, expect, inject, it } from "vitest";
import { blocksOf, hashes, packed } from "./hashes.test-setup.js";
import { adminClient } from "./keyspace.test-setup.js";
import { fence, storeOpener } from "./layout.test-setup.js";
import { NOTHING, SEGMENT } from "./place.test-setup.js";
import { recordedClient } from "./recorded-client.test-setup.js";

const { host, port } = inject("redisServer");
const openStore = storeOpener();
const admin = adminClient();

describe("round trips", () => {
  it("are one for a write, a lookup of known sets and a look at the epoch", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const { store } = await openStore({}, `redis://127.0.0.1:${proxy.port}`);
    const sets = [await store.allocateMemberSet(6, fence), await store.allocateMemberSet(8, fence)] as const;
    const blocks = blocksOf(hashes(700), 8);
    const all = packed(hashes(300));
    await store.writeBlocks(sets[0], blocksOf(hashes(700), 6), fence);
    await store.writeBlocks(sets[1], blocks, fence);

    const scripts = await scriptRuns();
    expect(await tripsOf(proxy, () => store.writeBlocks(sets[1], blocks, fence))).toBe(1);
    // It took several scripts, and each of them once.
    const ran = await scriptRuns();
    expect(ran.evalsha - scripts.evalsha).toBeGreaterThanOrEqual(Math.ceil(700 / 512));
    expect(ran.eval - scripts.eval).toBe(0);
    await store.findMemberSets(all, sets);
    expect(await tripsOf(proxy, () => store.findMemberSets(all, sets))).toBe(1);
    expect(await tripsOf(proxy, () => store.findMemberSets(all.subarray(0, CONTEXT_HASH_BYTES), sets))).toBe(1);
    expect(await tripsOf(proxy, () => store.getEpoch())).toBe(1);
    expect(await tripsOf(proxy, () => store.getSegment(SEGMENT))).toBe(1);
  });

  it("are two for a lookup where one of the contexts is in very many sets", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const { store } = await openStore({}, `redis://127.0.0.1:${proxy.port}`);
    const busy = contextHash("busy") as ContextHashes;
    const sets: MemberSet[] = [];
    while (sets.length < 65) {
      const set = await store.allocateMemberSet(0, fence);
      await store.writeBlocks(set, [{ shard: 0, adds: busy, removes: NOTHING }], fence);
      sets.push(set);
    }
    await store.findMemberSets(busy, sets);
    expect(await tripsOf(proxy, () => store.findMemberSets(busy, sets))).toBe(2);
  });

  it("are one for a write and a lookup on a Cluster, once it has been asked about the set", async () => {
    const { client, waves } = recordedClient();
    const { store } = await openStore({}, client);
    const set = await store.allocateMemberSet(8, fence);
    const blocks = blocksOf(hashes(600), 8);
    const all = packed(hashes(600));
    await store.writeBlocks(set, blocks, fence);
    await store.findMemberSets(all, [set]);
    const before = waves();
    await store.writeBlocks(set, blocks, fence);
    expect(waves() - before).toBe(1);
    await store.findMemberSets(all, [set]);
    expect(waves() - before).toBe(2);
  });

  it("are not waited for in vain: what a write sends is on its way when the call returns", async () => {
    const { client, commands } = recordedClient();
    const { store } = await openStore({}, client);
    const set = await store.allocateMemberSet(8, fence);
    const blocks = blocksOf(hashes(600), 8);
    await store.writeBlocks(set, blocks, fence);
    const before = commands.length;
    const writing = store.writeBlocks(set, blocks, fence);
    const sent = commands.length;
    await writing;
    expect(sent).toBeGreaterThan(before);
    expect(commands.length).toBe(sent);
  });

  it("are one more for the first lookup of a set, which makes sure that it is whole", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const { store: writer, prefix } = await openStore();
    const set = await writer.allocateMemberSet(4, fence);
    const all = packed(hashes(100));
    await writer.writeBlocks(set, blocksOf(hashes(100), 4), fence);
    const { store } = await openStore({ prefix }, `redis://127.0.0.1:${proxy.port}`);
    expect(await tripsOf(proxy, () => store.findMemberSets(all, [set]))).toBeLessThanOrEqual(2);
    expect(await tripsOf(proxy, () => store.findMemberSets(all, [set]))).toBe(1);
  });
});

/** How often `work` sends something and waits for the answer. */
async function tripsOf(proxy: TcpProxy, work: () => Promise<unknown>): Promise<number> {
  let trips = 0;
  let asking = false;
  // All that is sent together is there long before the first answer to it can be.
  proxy.delay(50);
  proxy.dropReplies({
    after: () => {
      if (!asking) trips++;
      asking = true;
      return false;
    },
  });
  proxy.onReply((reply) => {
    asking = false;
    return reply;
  });
  await work();
  await proxy.resume();
  return trips;
}

async function scriptRuns(): Promise<{ readonly evalsha: number; readonly eval: number }> {
  const stats = await admin.info("commandstats");
  const calls = (name: string) => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, "m").exec(stats)?.[1] ?? 0);
  return { evalsha: calls("evalsha"), eval: calls("eval") };
}
