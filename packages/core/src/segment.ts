// The segment record: what the registry keeps of a segment, and its one JSON form that every adapter stores.

import { randomUUID } from "node:crypto";
import { z } from "zod";
import { MAX_SHARD_BITS } from "./context-hashes.js";
import { RollcallError } from "./errors.js";
import { contextKindSchema, segmentKeySchema } from "./names.js";

/** The layout that this version reads and writes. A store that holds a newer one is refused with `layout_mismatch`. */
export const LAYOUT_VERSION = 1;

const millis = z.number().int().nonnegative();

const memberSetIdSchema = z.number().int().min(1).max(0xffff_ffff).brand<"MemberSetId">();
/** The number of a member set: 1 to 2^32 - 1, never reused within an environment. */
export type MemberSetId = z.infer<typeof memberSetIdSchema>;

export const memberSetSchema = z.object({
  id: memberSetIdSchema,
  shardBits: z.number().int().min(0).max(MAX_SHARD_BITS),
});
/** A set of context hashes in the store, and the number of leading bits by which it was cut into blocks. */
export type MemberSet = z.infer<typeof memberSetSchema>;

/** The ids of `sets`, by the number of bits by which each set was cut. */
export function idsByShardBits(sets: Iterable<MemberSet>): Map<number, Set<MemberSetId>> {
  const groups = new Map<number, Set<MemberSetId>>();
  for (const { id, shardBits } of sets) {
    const ids = groups.get(shardBits) ?? new Set();
    groups.set(shardBits, ids.add(id));
  }
  return groups;
}

const revisionSchema = z.string().min(16);
/** An unguessable tag of one version of a record, made anew by every write. */
export type Revision = z.infer<typeof revisionSchema>;

/** A fresh revision. */
export function freshRevision(): Revision {
  return randomUUID() as Revision;
}

/** Which list of a segment: who is in it, or who is expressly not in it. Included beats excluded. */
export const listNameSchema = z.enum(["included", "excluded"]);
export type ListName = z.infer<typeof listNameSchema>;

/** Both lists, in the order in which work on them is done. */
export const LIST_NAMES: readonly ListName[] = ["included", "excluded"];

const originSchema = z.enum(["sync", "manual"]);
/** Who set a detail: a sync, or a person. */
export type Origin = z.infer<typeof originSchema>;

const detailsSchema = z.object({
  name: z.object({ value: z.string(), origin: originSchema }).optional(),
  description: z.object({ value: z.string(), origin: originSchema }).optional(),
  tags: z.object({ value: z.array(z.string()), origin: originSchema }).optional(),
});
/** Name, description and tags, each with who set it. */
export type Details = z.infer<typeof detailsSchema>;

export const detailsPatchSchema = z
  .strictObject({
    name: z.string().max(1_000).optional(),
    description: z.string().max(10_000).optional(),
    tags: z.array(z.string().min(1).max(200)).max(100).optional(),
  })
  .meta({ description: "Details to set; a field that is absent stays as it is." });
/** Details to set; an absent field stays as it is. At most 1,000 and 10,000 characters, 100 tags of 200. */
export type DetailsPatch = z.infer<typeof detailsPatchSchema>;

const leaseSchema = z.object({
  /** Grows with every lease of this segment key, also across deletion. */
  token: z.number().int().nonnegative(),
  /** Who holds it; absent when it was released. */
  holder: z.string().optional(),
  /** Wall-clock milliseconds until which others do not try; 0 when released. */
  expiresAt: millis,
});
/** The right to write one segment. */
export type Lease = z.infer<typeof leaseSchema>;

export const countSchema = z.object({ value: z.number().int().nonnegative(), exact: z.boolean() });
/** A number of members, and whether it is known to be exact. */
export type Count = z.infer<typeof countSchema>;

const listStateSchema = z.object({ set: memberSetSchema.optional(), count: countSchema });

export const segmentSchema = z.object({
  layout: z.literal(LAYOUT_VERSION),
  key: segmentKeySchema,
  contextKind: contextKindSchema,
  /** How many times this key has been created; 1 for the first. */
  generation: z.number().int().positive(),
  revision: revisionSchema,
  /** A deleted segment stays as a tombstone: it keeps the lease token and the generation. */
  state: z.enum(["live", "deleted"]),
  details: detailsSchema,
  lease: leaseSchema,
  included: listStateSchema,
  excluded: listStateSchema,
  /** Sets that a snapshot under way is writing; no reader asks for them. */
  staged: z.array(memberSetSchema),
  /** Sets that readers may still ask for until the grace period after `at` (wall-clock ms) has passed. */
  retired: z.array(z.object({ set: memberSetSchema, at: millis })),
  /** For each ordered source, the position up to which its changes are in. */
  positions: z.array(z.object({ source: z.string(), position: z.string() })),
  /** Who finished the newest writes, newest last: how a writer whose reply was lost learns that it was done. */
  recentSyncs: z.array(z.object({ token: z.number().int(), holder: z.string() })),
  /** Fingerprints of the newest sync ids, newest last: how a repeat is recognised. */
  recentSyncIds: z.array(z.string()),
  createdAt: millis,
  updatedAt: millis,
  /** When the last sync finished; absent before the first. */
  lastSyncedAt: millis.optional(),
});
/** One segment as the registry keeps it. */
export type Segment = z.infer<typeof segmentSchema>;

const environmentSchema = z.object({
  layout: z.literal(LAYOUT_VERSION),
  /** Made at random when the environment is created: tells two environments of one name apart. */
  id: z.string().min(16),
  revision: revisionSchema,
  createdAt: millis,
  /** Proves that a pepper is the one this environment was made with; absent without a pepper and before the first sync. */
  pepperCheck: z.string().optional(),
  /** Whether any writer has worked here yet: from then on the pepper is fixed. */
  initialized: z.boolean(),
  /** How many contexts the user expects in all; sizes blocks where the layout is by context. */
  expectedContexts: z.number().int().positive().optional(),
  /** A stream's resume hint across segments, moved last; the truth is in each segment. */
  positions: z.array(z.object({ source: z.string(), position: z.string() })),
  /** While a copy into this environment is not finished: the id of the environment it comes from. */
  copyingFrom: z.string().optional(),
});
/** The one record of an environment. */
export type Environment = z.infer<typeof environmentSchema>;

/** The stored form of a segment: JSON. */
export function encodeSegment(segment: Segment): string {
  return JSON.stringify(segment);
}

/** Reads what {@link encodeSegment} wrote; throws `layout_mismatch` on a newer layout, else `corrupt_data`. */
export function decodeSegment(text: string): Segment {
  return decode(segmentSchema, text, "a segment record");
}

/** For adapters: the record of an environment that is being created. */
export function newEnvironment(): Environment {
  return {
    layout: LAYOUT_VERSION,
    id: randomUUID(),
    revision: freshRevision(),
    createdAt: Date.now(),
    initialized: false,
    positions: [],
  };
}

/** The stored form of an environment: JSON. */
export function encodeEnvironment(environment: Environment): string {
  return JSON.stringify(environment);
}

/** Reads what {@link encodeEnvironment} wrote; throws `layout_mismatch` on a newer layout, else `corrupt_data`. */
export function decodeEnvironment(text: string): Environment {
  return decode(environmentSchema, text, "the environment record");
}

function decode<T>(schema: z.ZodType<T>, text: string, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RollcallError("corrupt_data", `${what} is not JSON; restore it from a copy`, { cause });
  }
  const layout = typeof value === "object" && value !== null && "layout" in value ? value.layout : undefined;
  if (typeof layout === "number" && layout > LAYOUT_VERSION) {
    throw new RollcallError(
      "layout_mismatch",
      `${what} has layout ${layout}, this version reads up to ${LAYOUT_VERSION}; upgrade Rollcall`,
    );
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new RollcallError("corrupt_data", `${what} is not valid; restore it from a copy`, { cause: parsed.error });
}
