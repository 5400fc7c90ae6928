// Several who write at once: what they have to lock, they lock in one order, and nobody is undone for it.

import { randomUUID } from "node:crypto";
import { codeOf } from "@rollcall/conformance";
import {
  changeOf,
  expectApplied,
  expectState,
  membersIn,
  openInSmallSteps,
  quickRollcall,
  type RecordingStore,
  startTrial,
  sync,
} from "@rollcall/conformance/faults";
import type { Block, Fence, MemberSet, SegmentStore } from "@rollcall/core";
import { afterEach, describe, expect, it } from "vitest";
import { ownSchema } from "./fault-line.test-setup.js";
import { SERVER } from "./place.test-setup.js";

const harness = ownSchema();
const opened: RecordingStore[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((store) => store.close()));
});

/** Two handles on one environment, as in two processes. */
async function twoHandles(): Promise<[RecordingStore, RecordingStore]> {
  const options = { place: randomUUID(), timeoutMs: 20_000 };
  const open = () => openInSmallSteps(harness.createStore(SERVER, options));
  const handles: [RecordingStore, RecordingStore] = [await open(), await open()];
  opened.push(...handles);
  return handles;
}

describe("at once", () => {
  it("segments are synced, snapshots of one of them compete, and a sweep goes on", async () => {
    const handles = await twoHandles();
    const writers = handles.map((store) => quickRollcall(store, { leaseTtlMs: 15_000, graceMs: 0 }));
    const segments = ["one", "two"].map((segmentKey) => ({ segmentKey, ...changeOf("replace", new Set(), 0) }));
    for (let round = 1; round <= 4; round++) {
      const competing = segments.map(({ segmentKey }) =>
        [2 * round, 2 * round + 1].map((version) => ({ segmentKey, ...changeOf("replace", new Set(), version) })),
      );
      await Promise.all([
        ...competing.flatMap((both) =>
          both.map(async (trial, index) => {
            expectApplied(await sync(writers[index]!, trial));
          }),
        ),
        ...writers.map((writer) => writer.sweep()),
      ]);
      for (const both of competing) {
        const segmentKey = both[0]!.segmentKey;
        const members = [...(await membersIn(handles[0], segmentKey))].toSorted();
        expect(both.map(({ after }) => [...after].toSorted())).toContainEqual(members);
        await expectState(handles[0], segmentKey, new Set(members));
      }
    }
    expect(handles.flatMap(({ failures }) => failures)).toEqual([]);
  });

  it("the same blocks are written in opposite orders", async () => {
    const [one, two] = await twoHandles();
    const { set, blocks, fence } = await writtenBy(one);
    const writes = Array.from({ length: 40 }, (_, index) =>
      index % 2 === 0 ? one.writeBlocks(set, blocks, fence) : two.writeBlocks(set, blocks.toReversed(), fence),
    );
    // The sync had made all of it.
    for (const changes of await Promise.all(writes)) expect(changes).toEqual({ added: 0, removed: 0 });
  });

  it("writers take a set over from each other, and each is either let in or told that there is a newer one", async () => {
    const [one, two] = await twoHandles();
    const { set, blocks, fence } = await writtenBy(one);
    let { token } = fence;
    for (let round = 0; round < 15; round++) {
      const takeovers = Array.from({ length: 16 }, (_, index) => {
        const mine: Fence = { ...fence, token: ++token, holder: `writer ${token}` };
        const store = index % 2 === 0 ? one : two;
        return index % 4 === 0 ? store.writeBlocks(set, blocks, mine) : store.raiseFence(set, mine);
      });
      const ends = await Promise.allSettled(takeovers);
      const refusals = ends.flatMap((end) => (end.status === "rejected" ? codeOf(end.reason) : []));
      expect(refusals.filter((code) => code !== "stale_lease")).toEqual([]);
    }
    const [stored] = await one.listMemberSets();
    expect(stored?.fence).toEqual({ ...fence, token, holder: `writer ${token}` });
  });
});

/** What a delta wrote: all its blocks, by one fence. */
async function writtenBy(store: RecordingStore) {
  const calls: { set: MemberSet; blocks: readonly Block[]; fence: Fence }[] = [];
  const trial = await startTrial(store, "merge");
  const watched: SegmentStore = {
    ...store,
    writeBlocks(set, blocks, fence) {
      calls.push({ set, blocks, fence });
      return store.writeBlocks(set, blocks, fence);
    },
  };
  expectApplied(await sync(quickRollcall(watched, { leaseTtlMs: 15_000 }), trial));
  const [first] = calls;
  if (first === undefined) throw new Error("a delta writes blocks");
  return { ...first, blocks: calls.flatMap(({ blocks }) => blocks) };
}
