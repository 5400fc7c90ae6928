// A segment as the command shows it: what a user of segments needs, without what only the engine does.

import { type Details, type Rollcall, RollcallError, type Segment } from "@rollcall/core";
import { formatTime } from "./quantity.js";
import { count } from "./sync-report.js";
import { type Colors, fields } from "./terminal.js";

/** The JSON form. */
export interface SegmentSummary {
  readonly key: string;
  readonly contextKind: string;
  readonly details: Details;
  readonly members: {
    readonly included: Segment["included"]["count"];
    readonly excluded: Segment["excluded"]["count"];
  };
  readonly positions: Segment["positions"];
  readonly generation: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly lastSyncedAt?: number;
  /** Until when a writer holds the segment, or held it before it died. Absent where it gave the segment up. */
  readonly leasedUntil?: number;
}

export function summarize(segment: Segment): SegmentSummary {
  return {
    key: segment.key,
    contextKind: segment.contextKind,
    details: segment.details,
    members: { included: segment.included.count, excluded: segment.excluded.count },
    positions: segment.positions,
    generation: segment.generation,
    createdAt: segment.createdAt,
    updatedAt: segment.updatedAt,
    ...(segment.lastSyncedAt === undefined ? {} : { lastSyncedAt: segment.lastSyncedAt }),
    ...(segment.lease.holder === undefined || segment.lease.expiresAt === 0
      ? {}
      : { leasedUntil: segment.lease.expiresAt }),
  };
}

/** @throws `unknown_segment`. */
export async function requireSegment(rollcall: Rollcall, segmentKey: string): Promise<Segment> {
  const segment = await rollcall.getSegment(segmentKey);
  if (segment !== undefined) return segment;
  throw new RollcallError(
    "unknown_segment",
    `there is no segment ${segmentKey} in environment ${rollcall.store.environment}; "rollcall segments list" lists them`,
  );
}

/** For people. */
export function describeSegment(segment: Segment, colors: Colors): string {
  const { details, included, excluded, lease } = segment;
  const pairs: [string, string][] = [
    ["key", colors.bold(segment.key)],
    ["context kind", segment.contextKind],
  ];
  if (details.name) pairs.push(["name", withOrigin(details.name.value, details.name.origin, colors)]);
  if (details.description)
    pairs.push(["description", withOrigin(details.description.value, details.description.origin, colors)]);
  if (details.tags) pairs.push(["tags", withOrigin(details.tags.value.join(", "), details.tags.origin, colors)]);
  pairs.push(["included", count(included.count)], ["excluded", count(excluded.count)]);
  pairs.push(["last synced", segment.lastSyncedAt === undefined ? "never" : formatTime(segment.lastSyncedAt)]);
  pairs.push(["created", formatTime(segment.createdAt)]);
  for (const { source, position } of segment.positions) pairs.push(["position", `${position} of ${source}`]);
  if (lease.holder !== undefined) pairs.push(["being written", `until ${formatTime(lease.expiresAt)} at least`]);
  return fields(pairs, colors);
}

function withOrigin(value: string, origin: string, colors: Colors): string {
  return `${oneLine(value)} ${colors.dim(origin === "manual" ? "(set by hand)" : "(from the source)")}`;
}

/** Details come from outside; control characters in them must not reach a terminal. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]+/gu, " ");
}
