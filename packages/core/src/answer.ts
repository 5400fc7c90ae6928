// What a reader answers, and how far an answer can be trusted. Answers for one segment are few, so each is made once.

import type { Member } from "./members.js";
import type { KindView, SegmentView } from "./registry-snapshot.js";

/** Who is asked about. */
export interface Context {
  readonly kind: string;
  /** As it was synced: an integer stands for its decimal digits. What cannot be a key, as an empty one, is in no segment. */
  readonly key: Member;
}

/**
 * How far an answer can be trusted, from best to worst. An answer about several segments carries the worst.
 * `healthy`. `stale`: not synced within `freshnessMs`. `never_synced`: exists, but no sync has finished. `unknown_segment`. `store_error`: the database did
 * not answer, or the registry is older than `maxRegistryAgeMs`; the last known answer is given if there is one. `not_configured`: the reader has no store, or was closed.
 */
export type AnswerStatus = "healthy" | "stale" | "never_synced" | "unknown_segment" | "store_error" | "not_configured";

/** What the lists of a segment say of a context: included beats excluded; `none`: in neither list, or unknown. */
export type Decision = "included" | "excluded" | "none";

/** The answer for one segment. */
export interface MemberAnswer {
  /** Whether the context is a member: `decision` is `included`. */
  readonly member: boolean;
  /** `none`: in neither list, or unknown because of `status`. */
  readonly decision: Decision;
  readonly status: AnswerStatus;
}

/** The answer for all segments of the context's kind. */
export interface Membership {
  /** Segment key → `true` (included) or `false` (excluded). A segment that is absent has no answer. */
  readonly segments: ReadonlyMap<string, boolean>;
  readonly status: AnswerStatus;
}

type ByStatus<A> = { readonly [S in AnswerStatus]: { readonly [D in Decision]: A } };

/** Every answer for one segment. */
export const ANSWERS: ByStatus<MemberAnswer> = byStatus((decision, status) =>
  Object.freeze({ member: decision === "included", decision, status }),
);

/** Every answer for one segment as a promise that is resolved already, so that a cache hit allocates nothing. */
export const ANSWERED: ByStatus<Promise<MemberAnswer>> = byStatus((decision, status) =>
  Promise.resolve(ANSWERS[status][decision]),
);

function byStatus<A>(make: (decision: Decision, status: AnswerStatus) => A): ByStatus<A> {
  const of = (status: AnswerStatus) => ({
    included: make("included", status),
    excluded: make("excluded", status),
    none: make("none", status),
  });
  return {
    healthy: of("healthy"),
    stale: of("stale"),
    never_synced: of("never_synced"),
    unknown_segment: of("unknown_segment"),
    store_error: of("store_error"),
    not_configured: of("not_configured"),
  };
}

/** An answer about all segments of a kind. */
export function membershipOf(segments: ReadonlyMap<string, boolean>, status: AnswerStatus): Membership {
  return Object.freeze({ segments, status });
}

/** Tells the status of what is in a snapshot at the time of asking. */
export interface StatusJudge {
  segment(segment: SegmentView): AnswerStatus;
  /** The worst of its segments. */
  kind(kind: KindView): AnswerStatus;
}

/** `now` is the wall clock, read only where a freshness was set. */
export function createStatusJudge(freshnessMs: number | undefined, now: () => number): StatusJudge {
  const isStale = (lastSyncedAt: number) => freshnessMs !== undefined && now() - lastSyncedAt > freshnessMs;
  return {
    segment({ lastSyncedAt }) {
      if (lastSyncedAt === undefined) return "never_synced";
      return isStale(lastSyncedAt) ? "stale" : "healthy";
    },
    kind({ hasNeverSynced, oldestSyncAt }) {
      if (hasNeverSynced) return "never_synced";
      return isStale(oldestSyncAt) ? "stale" : "healthy";
    },
  };
}
