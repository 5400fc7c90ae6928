// The reading side: which segments is this context in, answered from a cache and at most one round trip.
//
// What keeps a snapshot atomic for readers: the registry is read before the members, the members are asked for exactly
// the sets of that reading, the answer is given from it, and a cached context counts for a segment only if it was asked
// about the sets that the segment has now.

import { z } from "zod";
import {
  ANSWERED,
  ANSWERS,
  type Context,
  createStatusJudge,
  type MemberAnswer,
  type Membership,
  membershipOf,
} from "./answer.js";
import { type Clock, systemClock } from "./clock.js";
import type { ResolvedContext } from "./context-cache.js";
import { createHashWriter } from "./context-hash.js";
import { ContextLookup, type Waiter } from "./context-lookup.js";
import { RollcallError } from "./errors.js";
import { requireKnownOptions } from "./known-options.js";
import { RegistryFollower } from "./registry-follower.js";
import { decide, decideAll, hasSets, type KindView, type RegistrySnapshot, usesAny } from "./registry-snapshot.js";
import type { SegmentStore } from "./store.js";

/** Options of {@link createSegmentReader}. */
export interface SegmentReaderOptions {
  /** An opened store. Without one every answer is `not_configured`. */
  readonly store: SegmentStore | undefined;
  /** As the environment's writer has it. Default: none. */
  readonly pepper?: string | Uint8Array | undefined;
  /** Contexts kept, per context kind; 0 for none. Default 100,000. */
  readonly cacheSize?: number | undefined;
  /** How long an answer is kept: how late a merge may show. A snapshot shows as soon as the registry is re-read. Default 5,000. */
  readonly cacheTtlMs?: number | undefined;
  /** How often the epoch is polled, also where the store tells when it moves. Default 1,000. */
  readonly pollMs?: number | undefined;
  /**
   * No answer is given from a registry older than this. Above `pollMs`, and below half the writers' `graceMs`. Default
   * 30,000.
   */
  readonly maxRegistryAgeMs?: number | undefined;
  /** A segment not synced for longer is `stale`. Default: never. */
  readonly freshnessMs?: number | undefined;
  /** `answer`: a failing store shows as status `store_error`. `throw`: as the error. Default `answer`. */
  readonly onError?: "answer" | "throw" | undefined;
  /** Default: the machine's clocks. */
  readonly clock?: Clock | undefined;
}

/** Answers membership for one environment. Safe to share; make one per process. */
export interface SegmentReader {
  /** Whether the context is in the segment; at once from the cache, else with one round trip that it shares with others of the same tick. */
  isMember(segmentKey: string, context: Context): Promise<MemberAnswer>;
  /** All segments of its kind that the context is in, from one snapshot of the registry. */
  membership(context: Context): Promise<Membership>;
  /**
   * Re-reads the registry now and drops the cache, so that everything acknowledged before the call shows. Without a store
   * it does nothing.
   * @throws the store's error, whatever `onError` says; `pepper_mismatch`; `closed`.
   */
  refresh(): Promise<void>;
  /** Cache and round-trip counters since the start. */
  stats(): ReaderStats;
  /** Stops polling and listening. Does not close the store. */
  close(): void;
}

/** Counters of a {@link SegmentReader}. */
export interface ReaderStats {
  /** Calls answered from the cache. */
  readonly hits: number;
  /** Calls that had to be looked up, or waited for a lookup under way. */
  readonly misses: number;
  /** Lookups of members sent to the store. */
  readonly roundTrips: number;
  /** Lookups, readings of the registry, and watches of the epoch, that failed. */
  readonly errors: number;
  /** Age of the registry snapshot in milliseconds; `undefined` before the first. */
  readonly registryAgeMs: number | undefined;
}

const MAX_TIMER_MS = 2 ** 31 - 1;
const settingsSchema = z
  .object({
    pepper: z.union([z.string(), z.instanceof(Uint8Array)]).optional(),
    // Beyond it a Map cannot hold the keys.
    cacheSize: z
      .number()
      .int()
      .min(0)
      .max(2 ** 24 - 1)
      .default(100_000),
    cacheTtlMs: z.number().min(0).default(5_000),
    pollMs: z.number().positive().max(MAX_TIMER_MS).default(1_000),
    maxRegistryAgeMs: z.number().positive().default(30_000),
    freshnessMs: z.number().positive().optional(),
    onError: z.enum(["answer", "throw"]).default("answer"),
  })
  .refine(({ pollMs, maxRegistryAgeMs }) => maxRegistryAgeMs > pollMs, {
    path: ["maxRegistryAgeMs"],
    message: "must be above pollMs",
  });
type Settings = z.infer<typeof settingsSchema>;

/**
 * Makes a reader on an opened store. It reads nothing before the first call, and polls only while it is in use.
 * @throws `invalid_request` on options that are not valid.
 */
export function createSegmentReader(options: SegmentReaderOptions): SegmentReader {
  const parsed = settingsSchema.safeParse(options);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new RollcallError("invalid_request", `reader option ${issue?.path.join(".")}: ${issue?.message}`);
  }
  requireKnownOptions(options, ["store", ...Object.keys(settingsSchema.shape), "clock"]);
  if (options.store === undefined) return createUnconfiguredReader();
  return createConfiguredReader(options.store, parsed.data, options.clock ?? systemClock);
}

function createUnconfiguredReader(): SegmentReader {
  return {
    isMember: () => ANSWERED.not_configured.none,
    membership: async () => membershipOf(new Map(), "not_configured"),
    refresh: async () => {},
    stats: () => ({ hits: 0, misses: 0, roundTrips: 0, errors: 0, registryAgeMs: undefined }),
    close: () => {},
  };
}

// What is neither text nor an integer cannot be a key, and neither can the empty text.
function keyText(key: unknown): string {
  if (typeof key === "string") return key;
  return typeof key === "bigint" || Number.isSafeInteger(key) ? String(key) : "";
}

/** A call of `isMember` that waits for its context. */
interface MemberWaiter extends Waiter {
  readonly resolve: (answer: MemberAnswer | Promise<MemberAnswer>) => void;
  readonly segmentKey: string;
  readonly context: Context;
  readonly kind: string;
}

function createConfiguredReader(store: SegmentStore, settings: Settings, clock: Clock): SegmentReader {
  const { cacheSize, cacheTtlMs, pepper, pollMs, maxRegistryAgeMs: maxAgeMs } = settings;
  const counters = { hits: 0, misses: 0, roundTrips: 0, errors: 0 };
  const onFailure = () => {
    counters.errors++;
  };
  const onRoundTrip = () => {
    counters.roundTrips++;
  };
  const registry = new RegistryFollower({ store, pepper, cacheSize, pollMs, maxAgeMs, clock, onFailure });
  const writeHash = createHashWriter("key", pepper);
  const lookup = new ContextLookup({ store, registry, writeHash, cacheTtlMs, clock, onRoundTrip, onFailure });
  const judge = createStatusJudge(settings.freshnessMs, () => clock.now());
  let closed = false;

  // Hot: a hit allocates nothing and reads one clock. Nothing here may throw into a request path, also where a caller
  // without types passes no context at all.
  function isMember(segmentKey: string, context: Context): Promise<MemberAnswer> {
    const key = keyText(context?.key);
    const now = clock.monotonic();
    const snapshot = registry.usable(now);
    if (snapshot === undefined) {
      return registry.fresh().then(
        () => isMember(segmentKey, context),
        (error) => memberFailure(error, segmentKey, context),
      );
    }
    const segment = snapshot.segments.get(segmentKey);
    if (segment === undefined) return ANSWERED.unknown_segment.none;
    const { kind } = segment;
    if (kind.name !== context?.kind) return ANSWERED[judge.segment(segment)].none;
    const known = kind.cache.get(key);
    if (known !== undefined && known.version >= segment.since && now - known.resolvedAt < cacheTtlMs) {
      counters.hits++;
      return ANSWERED[judge.segment(segment)][decide(segment, known)];
    }
    if (!hasSets(segment) || key === "") return ANSWERED[judge.segment(segment)].none;
    return new Promise((resolve) => {
      const { resolved, failed } = memberWaiter;
      const waiter: MemberWaiter = { resolve, segmentKey, context, kind: kind.name, resolved, failed };
      if (lookup.find(snapshot, kind.name, key, now, waiter)) counters.misses++;
      else resolve(ANSWERS[judge.segment(segment)].none);
    });
  }

  // Shared by all who wait, so that asking allocates one object.
  const memberWaiter = {
    resolved(this: MemberWaiter, resolved: ResolvedContext, newest: RegistrySnapshot) {
      const { loss } = resolved;
      if (loss !== undefined && usesAny(newest.segments.get(this.segmentKey), loss.lostSets))
        this.resolve(memberFailure(loss, this.segmentKey, this.context));
      else this.resolve(memberAnswer(newest, this.segmentKey, this.kind, resolved));
    },
    failed(this: MemberWaiter, error: unknown) {
      this.resolve(memberFailure(error, this.segmentKey, this.context));
    },
  };

  function membership(context: Context): Promise<Membership> {
    const key = keyText(context?.key);
    const now = clock.monotonic();
    const snapshot = registry.usable(now);
    if (snapshot === undefined) {
      return registry.fresh().then(
        () => membership(context),
        (error) => membershipFailure(error, context),
      );
    }
    const kind = snapshot.kinds.get(context?.kind);
    if (kind === undefined) return Promise.resolve(membershipOf(new Map(), "healthy"));
    const known = kind.cache.get(key);
    if (known !== undefined && known.version >= kind.since && now - known.resolvedAt < cacheTtlMs) {
      counters.hits++;
      return Promise.resolve(membershipOf(decideAll(kind, known), judge.kind(kind)));
    }
    if (kind.sets.length === 0 || key === "") return Promise.resolve(membershipOf(new Map(), judge.kind(kind)));
    return new Promise((resolve) => {
      const sent = lookup.find(snapshot, kind.name, key, now, {
        resolved(resolved, newest) {
          const current = newest.kinds.get(kind.name);
          if (resolved.loss !== undefined) resolve(membershipWithout(resolved.loss, current, key, resolved));
          else if (current === undefined) resolve(membershipOf(new Map(), "healthy"));
          else resolve(membershipOf(decideAll(current, resolved), judge.kind(current)));
        },
        failed(error) {
          resolve(membershipFailure(error, context));
        },
      });
      if (sent) counters.misses++;
      else resolve(membershipOf(new Map(), judge.kind(kind)));
    });
  }

  function memberAnswer(snapshot: RegistrySnapshot, segmentKey: string, kind: string, resolved: ResolvedContext) {
    const segment = snapshot.segments.get(segmentKey);
    if (segment === undefined) return ANSWERS.unknown_segment.none;
    return ANSWERS[judge.segment(segment)][segment.kind.name === kind ? decide(segment, resolved) : "none"];
  }

  // The last known answer may be as old as it likes, but not from before a flip that an answer has shown already: ids of
  // sets that a segment has no longer say nothing about it.
  function memberFailure(error: unknown, segmentKey: string, context: Context): Promise<MemberAnswer> {
    if (closed) return ANSWERED.not_configured.none;
    if (settings.onError === "throw") return Promise.reject(error);
    const segment = registry.snapshot?.segments.get(segmentKey);
    if (segment === undefined) return ANSWERED.store_error.none;
    const known = segment.kind.name === context?.kind ? segment.kind.cache.get(keyText(context.key)) : undefined;
    return ANSWERED.store_error[known === undefined ? "none" : decide(segment, known)];
  }

  // Segments that have lost members answer what was known last.
  function membershipWithout(
    { lostSets }: RollcallError,
    kind: KindView | undefined,
    key: string,
    resolved: ResolvedContext,
  ): Membership | Promise<Membership> {
    if (settings.onError === "throw") return Promise.reject(resolved.loss);
    if (kind === undefined) return membershipOf(new Map(), "store_error");
    const known = kind.cache.get(key)?.ids.filter((id) => lostSets.includes(id)) ?? [];
    return membershipOf(decideAll(kind, { ...resolved, ids: [...resolved.ids, ...known] }), "store_error");
  }

  function membershipFailure(error: unknown, context: Context): Promise<Membership> {
    if (closed) return Promise.resolve(membershipOf(new Map(), "not_configured"));
    if (settings.onError === "throw") return Promise.reject(error);
    const kind = registry.snapshot?.kinds.get(context?.kind);
    const known = kind?.cache.get(keyText(context?.key));
    const segments = kind === undefined || known === undefined ? new Map() : decideAll(kind, known);
    return Promise.resolve(membershipOf(segments, "store_error"));
  }

  return {
    isMember,
    membership,
    async refresh() {
      await registry.refresh();
      for (const kind of registry.snapshot?.kinds.values() ?? []) kind.cache.clear();
      lookup.abandon();
    },
    stats() {
      const readAt = registry.snapshot?.asOf.monotonic;
      return { ...counters, registryAgeMs: readAt === undefined ? undefined : clock.monotonic() - readAt };
    },
    close() {
      closed = true;
      registry.close();
    },
  };
}
