// What a sync says about itself when it is done; the history keeps these.

import { z } from "zod";
import { consumedByNow } from "./consumption.js";
import { RollcallError } from "./errors.js";
import { contextKindSchema, segmentKeySchema } from "./names.js";
import { type Count, countSchema, listNameSchema } from "./segment.js";

const natural = z.number().int().nonnegative();

const rejectionReasonSchema = z.enum(["empty", "not_string_or_integer", "too_long", "not_well_formed", "not_a_digest"]);
/**
 * Why a member was left out: it is the empty string; neither string nor integer (numbers beyond 2^53 must come as strings or
 * bigint); longer than 1,024 bytes of UTF-8; holds a lone surrogate; is not 64 hex digits or base64 of 32 bytes.
 */
export type RejectionReason = z.infer<typeof rejectionReasonSchema>;

/** How many rejections a report lists one by one. */
export const MAX_LISTED_REJECTIONS = 100;

const consumptionSchema = z.object({ readUnits: z.number().nonnegative(), writeUnits: z.number().nonnegative() });

export const syncReportSchema = z
  .object({
    segmentKey: segmentKeySchema,
    contextKind: contextKindSchema,
    mode: z.enum(["merge", "replace", "grow"]),
    lists: z.array(listNameSchema),
    /** `already_applied`: recognised as a repeat by sync id or source position. `planned`: a dry run. */
    outcome: z.enum(["applied", "already_applied", "planned"]),
    /** Entries read, the rejected ones too. */
    received: natural,
    /** Entries whose member occurred in a later entry of the same sync, or, in a snapshot, had occurred before. */
    duplicates: natural,
    rejected: z.object({
      count: natural,
      /** The first 100, by position in the input, counted from 0. Never the value itself. */
      listed: z.array(z.object({ position: natural, reason: rejectionReasonSchema })),
    }),
    /** Members that were not there before. Of the whole group where `group` is more than 1. */
    added: countSchema,
    removed: countSchema,
    /** Members named by the sync that were already as it wants them. */
    unchanged: countSchema,
    /** Members after the sync. */
    members: z.object({ included: countSchema, excluded: countSchema }),
    /** How many concurrent merges were committed together; 1 for one alone. */
    group: z.number().int().positive(),
    syncId: z.string().optional(),
    source: z.string().optional(),
    startedAt: natural,
    /** From the call until this was said: in the history just before the write that finishes the sync, with which it goes; in the answer after it. */
    durationMs: z.number().nonnegative(),
    /**
     * What it consumed at a database that is paid by use, in that database's units, retries too; in the history without the last write,
     * which carries the report. Of merges that were committed together, by the one that wrote for all.
     */
    consumed: consumptionSchema.optional(),
    /** Of a dry run, at such a database: what the sync would consume, by the adapter's formula; what it replaces and drops later counts too. */
    estimate: consumptionSchema.optional(),
  })
  .meta({ description: "The report of one sync." });
/** The report of one sync. */
export type SyncReport = z.infer<typeof syncReportSchema>;

/** For adapters: reads the JSON of a report. @throws `corrupt_data`. */
export function decodeReport(text: string): SyncReport {
  try {
    return syncReportSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new RollcallError("corrupt_data", "a report of the history is damaged; restore the store from a copy", {
      cause,
    });
  }
}

/** How many reports of a segment a store keeps. */
export const HISTORY_LIMIT = 100;

/** What the parts of a report are made from. */
export interface ReportParts {
  readonly request: {
    readonly segmentKey: SyncReport["segmentKey"];
    readonly contextKind: SyncReport["contextKind"];
    readonly syncId?: string | undefined;
    readonly sourcePosition?: { readonly source: string } | undefined;
  };
  readonly mode: SyncReport["mode"];
  readonly lists: SyncReport["lists"];
  readonly outcome: SyncReport["outcome"];
  readonly received?: number;
  readonly duplicates?: number;
  readonly rejected?: SyncReport["rejected"];
  readonly added?: Count;
  readonly removed?: Count;
  readonly unchanged?: Count;
  /** The lists as they are after the sync. */
  readonly after: { readonly included: { readonly count: Count }; readonly excluded: { readonly count: Count } };
  readonly group?: number;
  readonly estimate?: SyncReport["estimate"];
  readonly startedAt: number;
  readonly durationMs: number;
}

/** A report; what is left out is zero and exact. */
export function buildReport(parts: ReportParts): SyncReport {
  const none: Count = { value: 0, exact: true };
  const { request, after } = parts;
  const consumed = consumedByNow();
  return {
    segmentKey: request.segmentKey,
    contextKind: request.contextKind,
    mode: parts.mode,
    lists: parts.lists,
    outcome: parts.outcome,
    received: parts.received ?? 0,
    duplicates: parts.duplicates ?? 0,
    rejected: parts.rejected ?? { count: 0, listed: [] },
    added: parts.added ?? none,
    removed: parts.removed ?? none,
    unchanged: parts.unchanged ?? none,
    // Copies: a report is the caller's, the record is not.
    members: { included: { ...after.included.count }, excluded: { ...after.excluded.count } },
    group: parts.group ?? 1,
    ...(request.syncId === undefined ? {} : { syncId: request.syncId }),
    ...(request.sourcePosition === undefined ? {} : { source: request.sourcePosition.source }),
    startedAt: parts.startedAt,
    durationMs: Math.max(0, parts.durationMs),
    ...(consumed === undefined ? {} : { consumed }),
    ...(parts.estimate === undefined ? {} : { estimate: parts.estimate }),
  };
}
