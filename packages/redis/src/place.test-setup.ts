// An environment with one segment that has one member, and what every call on it takes.

import type { SegmentStore, StoredMemberSet } from "@rollcall/core";
import {
  type ContextHashes,
  contextHash,
  createRollcall,
  type Fence,
  type Segment,
  type SegmentKey,
} from "@rollcall/core";
import { expect } from "vitest";

export const SEGMENT = "people" as SegmentKey;
/** The member. */
export const HASH = contextHash("ada") as ContextHashes;
export const NOTHING: ContextHashes = new Uint8Array();

export type Place = Awaited<ReturnType<typeof placeAt>>;

/** Opens the store and makes the segment. Its set has one shard. */
export async function placeAt(store: SegmentStore) {
  await store.open();
  const report = await createRollcall(store).merge(SEGMENT, { add: ["ada"] });
  const [set] = (await store.listMemberSets()) as [StoredMemberSet];
  const segment = (await store.getSegment(SEGMENT)) as Segment;
  expect(set.shardBits).toBe(0);
  return { store, report, set, fence: set.fence as Fence, segment, environment: await store.getEnvironment() };
}
