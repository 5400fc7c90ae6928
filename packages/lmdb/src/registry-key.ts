// The names of the small records: what is kept of an environment besides the members.

import type { SegmentKey } from "@rollcall/core";

/** A kind, and what tells the records of one kind apart. Ordered element by element. */
export type RegistryKey = (string | number)[];

/** All records of a kind: where they start, and where the next kind does. */
export interface RegistryRange {
  readonly start: RegistryKey;
  readonly end: RegistryKey;
}

/** Greater than every id, number and segment key that stands behind a kind. */
const AFTER_ALL = "\uffff";

export const layoutKey: RegistryKey = ["layout"];
export const environmentKey: RegistryKey = ["environment"];
export const epochKey: RegistryKey = ["epoch"];
/** The highest number of a member set so far. */
export const lastMemberSetKey: RegistryKey = ["last-member-set"];

export const segmentRecords: RegistryRange = { start: ["segment"], end: ["segment", AFTER_ALL] };
export function segmentRecordKey(key: SegmentKey): RegistryKey {
  return ["segment", key];
}

/** Who may write each member set. */
export const fenceRecords: RegistryRange = { start: ["fence"], end: ["fence", AFTER_ALL] };
export function fenceRecordKey(id: number): RegistryKey {
  return ["fence", id];
}

/** Member sets whose members are being removed; the record is the `shardBits` of the set. */
export const droppedRecords: RegistryRange = { start: ["dropped"], end: ["dropped", AFTER_ALL] };
export function droppedRecordKey(id: number): RegistryKey {
  return ["dropped", id];
}

/** The reports of a segment, numbered from the oldest. */
export function historyRecords(key: SegmentKey): RegistryRange {
  return { start: ["history", key], end: ["history", key, AFTER_ALL] };
}
export function historyRecordKey(key: SegmentKey, number: number): RegistryKey {
  return ["history", key, number];
}
