// Changes of a segment that are not syncs: details by hand, and deletion.

import { z } from "zod";
import type { Engine } from "./engine.js";
import { RollcallError } from "./errors.js";
import { withLease } from "./lease.js";
import { parseName, type SegmentKey, segmentKeySchema } from "./names.js";
import { updateSegment } from "./registry.js";
import type { CallOptions } from "./rollcall.js";
import { type DetailsPatch, detailsPatchSchema, LIST_NAMES, type Segment } from "./segment.js";
import { withDetails } from "./sync-request.js";

/** See `Rollcall.editDetails`. Needs no lease: a sync that finishes meanwhile re-reads the record. */
export async function editDetails(engine: Engine, segmentKey: string, patch: DetailsPatch): Promise<Segment> {
  const key = parseName(segmentKeySchema, segmentKey, "segment key");
  const parsed = detailsPatchSchema.safeParse(patch);
  if (!parsed.success) {
    throw new RollcallError("invalid_request", `details: ${z.prettifyError(parsed.error)}`, { cause: parsed.error });
  }
  return updateSegment(engine, key, (current) => {
    const segment = requireLive(current, key);
    return { ...segment, details: withDetails(segment.details, parsed.data, "manual") };
  });
}

/** See `Rollcall.deleteSegment`. */
export async function deleteSegment(engine: Engine, segmentKey: string, options: CallOptions): Promise<void> {
  const key = parseName(segmentKeySchema, segmentKey, "segment key");
  const { signal } = options;
  await withLease(
    engine,
    { segmentKey: key, changes: [], signal, prepare: (current) => requireLive(current, key) },
    (lease) => lease.finish((current) => tombstone(current, engine.clock.now())),
  );
}

function tombstone(segment: Segment, now: number): Segment {
  const sets = LIST_NAMES.map((list) => segment[list].set).filter((set) => set !== undefined);
  return {
    ...segment,
    state: "deleted",
    details: {},
    included: { count: { value: 0, exact: true } },
    excluded: { count: { value: 0, exact: true } },
    retired: [...segment.retired, ...sets.map((set) => ({ set, at: now }))],
    positions: [],
    recentSyncIds: [],
  };
}

/** @throws `unknown_segment`. */
function requireLive(segment: Segment | undefined, key: SegmentKey): Segment {
  if (segment?.state === "live") return segment;
  throw new RollcallError("unknown_segment", `there is no segment ${key}; sync it first, or check the key`);
}
