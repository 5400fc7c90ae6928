// A part of a set that is gone, because a node of a Cluster came back with nothing or a replica took over that did not have it yet.
// Nobody is told "no" for it, and nothing is built on what is left before a person decides: by a snapshot, or by a repair.

import { until } from "@rollcall/conformance/containers";
import {
  changeOf,
  endOf,
  expectApplied,
  expectRefused,
  expectState,
  type Mode,
  quickRollcall,
  snapshotInstead,
  startTrial,
  sync,
  type Trial,
  UNIVERSE,
  watchSegment,
} from "@rollcall/conformance/faults";
import { type ContextHashes, contextHash, createSegmentReader, type SegmentStore, shardOf } from "@rollcall/core";
import type { Redis } from "ioredis";
import { describe, expect, it } from "vitest";
import {
  brokenCluster,
  connectedClient,
  failOver,
  loseEverythingOf,
  openOn,
  replicaOf,
  slotOfShard,
  slotTable,
  startLine,
  timeout,
  untilWell,
} from "./fault-cluster.test-setup.js";
import { membersOf } from "./hashes.test-setup.js";
import { codeOf } from "./refusal.test-setup.js";

const broken = brokenCluster();

describe("after a primary came back with nothing", () => {
  it("a handle that was open refuses reads", { timeout }, async () => {
    await using loss = await startLoss("merge");
    await loss.reader.look();
    loss.reader.expectNothingWrong();
    await expectReadsRefused(loss.store, loss);
  });

  it("a new handle refuses reads", { timeout }, async () => {
    await using loss = await startLoss("merge");
    const client = await connectedClient(broken.cluster.natMap);
    await using store = await openOn(client, { prefix: loss.prefix });
    await expectReadsRefused(store, loss);
    client.disconnect();
  });

  it("a merge is refused", { timeout }, async () => {
    await using loss = await startLoss("merge");
    for (const store of [loss.store, loss.calm]) await expectMergeRefused(store, loss.trial);
    await loss.reader.look();
    loss.reader.expectNothingWrong();
  });

  it("a merge of one member is refused, wherever its shard is", { timeout }, async () => {
    await using loss = await startLoss("merge");
    const { calm, trial, lost } = loss;
    const rollcall = quickRollcall(calm);
    const strangers = UNIVERSE.filter((key) => !trial.before.has(key));
    for (const isLost of [true, false]) {
      const member = strangers.find((key) => lost.has(key) === isLost)!;
      expect(await refusalOf(() => rollcall.merge(trial.segmentKey, { add: [member] }))).toBe("corrupt_data");
    }
  });

  it("a snapshot makes all well", { timeout }, async () => {
    await using loss = await startLoss("replace");
    await loss.expectEnd(await sync(quickRollcall(loss.store), loss.trial));
  });

  it("a repair keeps the members that are left", { timeout }, async () => {
    await using loss = await startLoss("merge");
    const { calm, trial, set, lost, reader } = loss;
    await reader.stop();
    const rollcall = quickRollcall(calm);
    const finding = { kind: "lost_members", segmentKey: trial.segmentKey, set: set.id };
    const found = await rollcall.verify();
    expect(found.findings).toContainEqual(expect.objectContaining({ ...finding, repaired: false }));
    const mended = await rollcall.verify({ repair: true });
    expect(mended.findings).toContainEqual(expect.objectContaining({ ...finding, repaired: true }));
    const left = new Set([...trial.before].filter((key) => !lost.has(key)));
    await expectState(calm, trial.segmentKey, left);

    const next: Trial = { segmentKey: trial.segmentKey, ...changeOf("merge", left, 3) };
    const outcome = await endOf(await sync(rollcall, next), rollcall, next);
    expectApplied(outcome);
    expect(outcome.report?.members.included).toEqual({ value: next.after.size, exact: true });
    expect((await rollcall.verify()).findings).toEqual([]);
    await expectState(calm, next.segmentKey, next.after);
  });
});

describe("after a fail-over to a replica that had not got them", () => {
  it("a merge is refused, a snapshot makes all well, and what it had stays", { timeout }, async () => {
    // What this segment has is confirmed by the replica.
    await using line = await startLine(broken, "merge");
    const { primary } = line.members;
    const client = await connectedClient(broken.cluster.natMap);
    await using hasty = await openOn(client, { prefix: line.prefix, minReplicas: 0 });
    const replica = broken.nodes[replicaOf(primary)]!;
    await cutOff(replica, broken.nodes[primary]!);
    // The fences of this one's set, and its members, do not reach the replica.
    const trial = await startTrial(hasty, "merge");
    await failOver(broken, primary);
    await letIn(replica);
    await untilWell(broken, line.calm, line.store);

    for (const store of [line.store, line.calm]) await expectMergeRefused(store, trial);
    const rollcall = quickRollcall(line.calm);
    const snapshot = snapshotInstead(trial);
    expectApplied(await endOf(await sync(rollcall, snapshot), rollcall, snapshot));
    await expectState(line.calm, snapshot.segmentKey, snapshot.after);
    await line.expectEnd(await sync(quickRollcall(line.store), line.trial));
    client.disconnect();
  });
});

type Loss = Awaited<ReturnType<typeof startLoss>>;

/** A segment that has lost what one primary had of it, not that of the registry. */
async function startLoss(mode: Mode) {
  const line = await startLine(broken, mode);
  const { prefix, set, members } = line;
  const primaryOf = await slotTable(broken);
  const isLost = (key: string) =>
    primaryOf(slotOfShard(prefix, set.shardBits, shardOf(hashOf(key), 0, set.shardBits))) === members.primary;
  const lost = new Set(UNIVERSE.filter(isLost));
  await loseEverythingOf(broken, members.primary);
  await untilWell(broken, line.calm, line.store);
  return { ...line, lost };
}

/** Asserts that `store` does not say whether a context is a member whose shard is lost, and nothing wrong of others. */
async function expectReadsRefused(store: SegmentStore, { trial, set, lost }: Loss): Promise<void> {
  const asked = [...lost].filter((_, index) => index % 10 === 0);
  expect(new Set(asked.map((key) => trial.before.has(key)))).toEqual(new Set([true, false]));
  // One by one, so that none is refused for the sake of another.
  const refusals = asked.map((key) => refusalOf(() => store.findMemberSets(hashOf(key), [set])));
  expect(new Set(await Promise.all(refusals))).toEqual(new Set(["corrupt_data"]));
  expect(await refusalOf(() => membersOf(store, set))).toBe("corrupt_data");

  const reader = createSegmentReader({ store, onError: "throw" });
  const context = { kind: "user", key: asked[0]! };
  expect(await refusalOf(() => reader.isMember(trial.segmentKey, context))).toBe("corrupt_data");
  reader.close();
  await using watcher = await watchSegment(store, trial.segmentKey, trial);
  await watcher.look();
  watcher.expectNothingWrong();
}

async function expectMergeRefused(store: SegmentStore, trial: Trial): Promise<void> {
  const rollcall = quickRollcall(store);
  expectRefused(await endOf(await sync(rollcall, trial), rollcall, trial), "corrupt_data");
}

/** The code with which a call fails when all connections are back; `undefined` if it succeeds. */
async function refusalOf(call: () => Promise<unknown>): Promise<string | undefined> {
  const { code } = await until("the node answers", async () => {
    const code = await call().then(() => undefined, codeOf);
    return code !== "store_unavailable" && { code };
  });
  return code;
}

/** Has a replica lose its primary, without either of them being down. */
async function cutOff(replica: Redis, primary: Redis): Promise<void> {
  await replica.config("SET", "masteruser", "nobody");
  await replica.config("SET", "masterauth", "wrong");
  await primary.call("CLIENT", "KILL", "TYPE", "replica");
  await until("it has no replica", async () => /^connected_slaves:0\r?$/m.test(await primary.info("replication")));
}

async function letIn(replica: Redis): Promise<void> {
  await replica.config("SET", "masteruser", "");
  await replica.config("SET", "masterauth", "");
}

function hashOf(key: string): ContextHashes {
  return contextHash(key) as ContextHashes;
}
