// One sync as asked for: its options parsed, and how it meets the segment record before and after its members are written.

import { hash } from "node:crypto";
import { z } from "zod";
import { withPosition } from "./environment.js";
import { RollcallError } from "./errors.js";
import { requireKnownOptions } from "./known-options.js";
import type { MemberFormat } from "./members.js";
import { type ContextKind, contextKindSchema, parseName, type SegmentKey, segmentKeySchema } from "./names.js";
import type { SourcePosition, SyncOptions } from "./rollcall.js";
import {
  type Details,
  type DetailsPatch,
  detailsPatchSchema,
  freshRevision,
  LAYOUT_VERSION,
  type Origin,
  type Segment,
} from "./segment.js";

const RECENT_SYNC_IDS = 256;

const text = z.string().min(1).max(200);

/** What a sync says of itself beside its members, as JSON. */
export const syncOptionsSchema = z.object({
  contextKind: contextKindSchema.default("user" as ContextKind),
  details: detailsPatchSchema.default({}),
  memberFormat: z.enum(["key", "sha256"]).default("key"),
  syncId: text.optional(),
  sourcePosition: z.object({ source: text, expect: text.optional(), next: text }).optional(),
});

/** A sync with its options checked. */
export interface SyncRequest {
  readonly segmentKey: SegmentKey;
  readonly contextKind: ContextKind;
  readonly details: DetailsPatch;
  readonly memberFormat: MemberFormat;
  readonly syncId: string | undefined;
  readonly sourcePosition: SourcePosition | undefined;
}

// What else a call takes, and handles elsewhere.
const OTHER_OPTIONS = ["dryRun", "signal", "onProgress", "list", "allowShrink"];

/** @throws `invalid_request`, also on an option that does not exist: a misspelt `contextKind` would sync into the wrong kind. */
export function parseSyncRequest(segmentKey: string, options: SyncOptions): SyncRequest {
  const key = parseName(segmentKeySchema, segmentKey, "segment key");
  requireKnownOptions(options, [...Object.keys(syncOptionsSchema.shape), ...OTHER_OPTIONS]);
  const parsed = syncOptionsSchema.safeParse(options);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new RollcallError("invalid_request", `option ${issue?.path.join(".")}: ${issue?.message}`, {
      cause: parsed.error,
    });
  }
  const { syncId, sourcePosition, ...rest } = parsed.data;
  return { segmentKey: key, ...rest, syncId, sourcePosition };
}

/** What the record says to a sync before it starts. */
export interface Admission {
  /** Whether it was applied before. */
  readonly repeat: boolean;
  /** The record to apply it to, which may be a new one; of a repeat the record as it is. */
  readonly segment: Segment;
}

/** @throws `context_kind_mismatch`, `out_of_order`. */
export function admit(current: Segment | undefined, request: SyncRequest, now: number): Admission {
  const segment = current?.state === "live" ? current : newSegment(request, current, now);
  if (segment.contextKind !== request.contextKind) {
    throw new RollcallError(
      "context_kind_mismatch",
      `segment ${segment.key} holds contexts of kind ${segment.contextKind}, not ${request.contextKind}; sync into another segment`,
    );
  }
  if (request.syncId !== undefined && segment.recentSyncIds.includes(fingerprint(request.syncId)))
    return { repeat: true, segment };
  const { sourcePosition: wanted } = request;
  if (wanted !== undefined) {
    const stored = segment.positions.find((entry) => entry.source === wanted.source)?.position;
    if (stored !== wanted.expect) {
      if (stored === wanted.next) return { repeat: true, segment };
      throw new RollcallError(
        "out_of_order",
        `segment ${segment.key} is not at the position this sync continues from; resume source ${JSON.stringify(wanted.source)} from the position stored in the segment`,
      );
    }
  }
  return { repeat: false, segment };
}

/** The record after the sync, but for members, counts and lease. */
export function applied(segment: Segment, request: SyncRequest, now: number): Segment {
  const { sourcePosition: moved, syncId } = request;
  return {
    ...segment,
    details: withDetails(segment.details, request.details, "sync"),
    positions: moved === undefined ? segment.positions : withPosition(segment.positions, moved.source, moved.next),
    recentSyncIds:
      syncId === undefined
        ? segment.recentSyncIds
        : [...segment.recentSyncIds, fingerprint(syncId)].slice(-RECENT_SYNC_IDS),
    lastSyncedAt: now,
  };
}

/** Sets details with their origin; what a person set is left alone by a sync. */
export function withDetails(details: Details, patch: DetailsPatch, origin: Origin): Details {
  const free = (field: keyof Details) => origin === "manual" || details[field]?.origin !== "manual";
  return {
    ...details,
    ...(patch.name !== undefined && free("name") ? { name: { value: patch.name, origin } } : {}),
    ...(patch.description !== undefined && free("description")
      ? { description: { value: patch.description, origin } }
      : {}),
    ...(patch.tags !== undefined && free("tags") ? { tags: { value: [...patch.tags], origin } } : {}),
  };
}

// A segment that is created again starts anew, but for what makes writers of its former life fail: generation, lease, and
// the sets that still wait to be dropped.
function newSegment(request: SyncRequest, tombstone: Segment | undefined, now: number): Segment {
  return {
    layout: LAYOUT_VERSION,
    key: request.segmentKey,
    contextKind: request.contextKind,
    generation: (tombstone?.generation ?? 0) + 1,
    revision: freshRevision(),
    state: "live",
    details: {},
    lease: tombstone?.lease ?? { token: 0, expiresAt: 0 },
    included: { count: { value: 0, exact: true } },
    excluded: { count: { value: 0, exact: true } },
    staged: tombstone?.staged ?? [],
    retired: tombstone?.retired ?? [],
    positions: [],
    recentSyncs: [],
    recentSyncIds: [],
    createdAt: now,
    updatedAt: now,
  };
}

// 96 bits: enough never to meet by chance among 256, and the record stays small whatever ids senders use.
function fingerprint(syncId: string): string {
  return hash("sha256", syncId, "base64").slice(0, 16);
}
