// Small audiences for the checks that go through the engine: who is in, asked as an application asks.

import assert from "node:assert/strict";
import {
  contextHash,
  type MemberSet,
  type Rollcall,
  type Segment,
  type SegmentReader,
  type SegmentStore,
  shardBitsFor,
} from "@rollcall/core";
import type { FaultyStoreOptions } from "./faulty-store.js";
import { found } from "./samples.js";

/** The segment that most checks write. */
export const AUDIENCE = "audience";

/** Windows so small, and blocks so small, that a sync of a few dozen members takes many calls. */
export const SMALL_STEPS: FaultyStoreOptions = {
  capabilities: { window: { maxMembers: 8, maxBlocks: 3, concurrency: 2 } },
  chooseShardBits: ({ members }) => shardBitsFor(members, 4),
};

/** Context keys `from` to `to` (not included). */
export function people(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => `person-${from + i}`);
}

/** Those of `keys` that the reader says are members. */
export async function membersAmong(
  reader: SegmentReader,
  segmentKey: string,
  keys: readonly string[],
  kind = "user",
): Promise<string[]> {
  const answers = await Promise.all(keys.map((key) => reader.isMember(segmentKey, { kind, key })));
  return keys.filter((_, i) => answers[i]?.member);
}

/** Asserts, with a fresh view, that of `universe` exactly `expected` are members. */
export async function expectMembers(
  reader: SegmentReader,
  segmentKey: string,
  universe: readonly string[],
  expected: readonly string[],
): Promise<void> {
  await reader.refresh();
  assert.deepEqual((await membersAmong(reader, segmentKey, universe)).sort(), [...expected].sort());
}

/** The live segment, which must exist. */
export async function segmentOf(rollcall: Rollcall, segmentKey = AUDIENCE): Promise<Segment> {
  const segment = await rollcall.getSegment(segmentKey);
  assert.ok(segment !== undefined, `segment ${segmentKey} exists`);
  return segment;
}

/** Asserts counts that are exact. */
export async function expectCounts(
  rollcall: Rollcall,
  counts: { readonly included?: number; readonly excluded?: number },
  segmentKey = AUDIENCE,
): Promise<void> {
  const { included, excluded } = await segmentOf(rollcall, segmentKey);
  assert.deepEqual(
    { included: included.count, excluded: excluded.count },
    {
      included: { value: counts.included ?? 0, exact: true },
      excluded: { value: counts.excluded ?? 0, exact: true },
    },
  );
}

/** Every set that a segment record points at, whatever for. */
function setsOf(segment: Segment): MemberSet[] {
  const { included, excluded, staged, retired } = segment;
  return [included.set, excluded.set, ...staged, ...retired.map(({ set }) => set)].filter((set) => set !== undefined);
}

/** Whether any set that any record knows of holds `key`. */
export async function isStored(store: SegmentStore, key: string): Promise<boolean> {
  const hash = contextHash(key);
  assert.ok(hash !== undefined);
  const sets = (await store.listSegments()).flatMap(setsOf);
  return (await found(store, hash, sets)).some((ids) => ids.length > 0);
}

/** Asserts that the store holds the sets that live segments point at, and no others. */
export async function expectNoLeftovers(store: SegmentStore): Promise<void> {
  const pointed = (await store.listSegments()).flatMap(({ included, excluded }) =>
    [included.set?.id, excluded.set?.id].filter((id) => id !== undefined),
  );
  const stored = (await store.listMemberSets()).map(({ id }) => id);
  assert.deepEqual(
    stored.sort((a, b) => a - b),
    pointed.sort((a, b) => a - b),
  );
}

/** Everything that the store holds of the registry, for a comparison of before and after. */
export async function registryOf(store: SegmentStore): Promise<unknown> {
  const segments = await store.listSegments();
  const sets = await store.listMemberSets();
  return {
    environment: await store.getEnvironment(),
    segments: segments.sort((a, b) => (a.key < b.key ? -1 : 1)),
    sets: sets.sort((a, b) => a.id - b.id),
    histories: await Promise.all(segments.map(({ key }) => store.getHistory(key))),
  };
}
