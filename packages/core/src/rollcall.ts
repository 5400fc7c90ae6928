// The writing side in one object: everything that changes an environment goes through a Rollcall.

import type { Clock } from "./clock.js";
import { measureConsumption } from "./consumption.js";
import { createEngine } from "./engine.js";
import { checkEnvironment, initializeEnvironment, setEnvironmentPosition } from "./environment.js";
import { RollcallError } from "./errors.js";
import { forget } from "./forget.js";
import type { Delta, MemberFormat, Snapshot } from "./members.js";
import { createMergeQueue } from "./merge.js";
import { parseName, segmentKeySchema } from "./names.js";
import { replace } from "./replace.js";
import type { SyncReport } from "./report.js";
import type { DetailsPatch, Environment, ListName, MemberSetId, Segment } from "./segment.js";
import { deleteSegment, editDetails } from "./segment-edits.js";
import type { SegmentStore } from "./store.js";
import { sweep } from "./sweep.js";
import { verify } from "./verify.js";

/** Options of {@link createRollcall}. */
export interface RollcallOptions {
  /**
   * A secret of the environment: hashes become HMAC-SHA-256(pepper, SHA-256(key)), so that whoever reads the store cannot
   * try guessed keys. Fixed by the first sync; every reader needs it. Default: none.
   */
  readonly pepper?: string | Uint8Array | undefined;
  /** Contexts that the environment is going to hold in all; sizes blocks from the start. Default: learnt from the sets. */
  readonly expectedContexts?: number | undefined;
  /** How long a lease lasts without renewal; it is renewed after a third. Default 15,000. */
  readonly leaseTtlMs?: number | undefined;
  /** How long a sync waits for a segment that another writer holds, before `segment_busy`. Default 60,000. */
  readonly leaseWaitMs?: number | undefined;
  /** How long a replaced set stays for readers that still ask for it. Readers need `maxRegistryAge` below half of it. Default 300,000. */
  readonly graceMs?: number | undefined;
  /** The share of the present members that a snapshot must leave, 0 to 1; else `shrink_guard`. Default 0.5. */
  readonly minRemaining?: number | undefined;
  /** Memory for the members of one sync before they go to temporary files. Default 256 MB (268,435,456). */
  readonly memoryLimitBytes?: number | undefined;
  /** Where temporary files go. Default: the system's. They hold context hashes, never keys. */
  readonly tempDir?: string | undefined;
  /** How often a store call is repeated after a retryable error, and the first pause, which doubles with jitter. Default 5 and 100. */
  readonly retry?: { readonly retries?: number | undefined; readonly minDelayMs?: number | undefined } | undefined;
  /** Told of what went wrong without failing the call: a growth that failed, a lease that could not be renewed or given back, a callback that threw. Default: a process warning. */
  readonly onWarning?: ((warning: Error) => void) | undefined;
  /** Default: the machine's clocks. */
  readonly clock?: Clock | undefined;
}

/** How far a long call is. */
export interface Progress {
  /** `wait`: another writer holds the segment. `read`: members are read and hashed. `write`: blocks are written. `scan`: members are read back. `drop`: old sets are dropped. */
  readonly phase: "wait" | "read" | "write" | "scan" | "drop";
  /** Members (for `drop`: sets) done in this phase. */
  readonly done: number;
  /** Members in all, where known. */
  readonly total?: number;
}

/** Options of every long call. */
export interface CallOptions {
  /**
   * Ends the call with `aborted`. A snapshot then changes nothing; of a merge some changes may be visible, and repeating it
   * is harmless.
   */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** A place in an ordered source: the change from `expect` to `next`. Both opaque. */
export interface SourcePosition {
  /** The name of the source, for instance a topic and partition. */
  readonly source: string;
  /** The position this sync continues from; `undefined` for the first of the source. Else `out_of_order`. */
  readonly expect?: string | undefined;
  readonly next: string;
}

/** Options of {@link Rollcall.merge} and {@link Rollcall.replace}. */
export interface SyncOptions extends CallOptions {
  /** The kind of the members. A segment never changes it (`context_kind_mismatch`). Default `user`. */
  readonly contextKind?: string | undefined;
  /** Details as the source has them; those that a person set stay. */
  readonly details?: DetailsPatch | undefined;
  /** Default `key`. */
  readonly memberFormat?: MemberFormat | undefined;
  /** The sender's own id of this sync, 1 to 200 characters: a repeat among the last 256 ids of the segment is answered `already_applied`. */
  readonly syncId?: string | undefined;
  readonly sourcePosition?: SourcePosition | undefined;
  /** Reports what would change and changes nothing. Default `false`. */
  readonly dryRun?: boolean | undefined;
}

/** Options of {@link Rollcall.merge}. */
export interface MergeOptions extends SyncOptions {
  /** The list that is changed. Default `included`. */
  readonly list?: ListName | undefined;
}

/** Options of {@link Rollcall.replace}. */
export interface ReplaceOptions extends SyncOptions {
  /** Lets the snapshot remove more than the shrink guard allows. Default `false`. */
  readonly allowShrink?: boolean | undefined;
}

/** What {@link Rollcall.sweep} did. */
export interface SweepReport {
  readonly droppedSets: number;
  /** Retired sets that still are in their grace period, or whose segment is being written. */
  readonly waitingSets: number;
}

/** One finding of {@link Rollcall.verify}. */
export interface Finding {
  readonly kind: /** The stored count is wrong, or was marked inexact. */
    | "count"
    /** The store holds a member set that no segment points at. */
    | "orphan_set"
    /** A segment points at a set that has no fence, so that no sync can write it. */
    | "missing_fence"
    /** The database has lost members of a set; those that are left can be kept. */
    | "lost_members"
    /** One member set is pointed at twice. */
    | "shared_set"
    /** A member set holds a member twice. */
    | "misplaced_member"
    /** The segment was being written and could not be checked. */
    | "busy";
  readonly segmentKey?: string;
  readonly set?: MemberSetId;
  readonly message: string;
  readonly repaired: boolean;
}

/** What {@link Rollcall.verify} found. */
export interface VerifyReport {
  readonly segments: number;
  readonly members: number;
  readonly findings: readonly Finding[];
}

/** What {@link Rollcall.forget} did. */
export interface ForgetReport {
  /** The segments, by key, from whose sets the context was removed. */
  readonly segments: readonly string[];
}

/**
 * The writing side of one environment. Safe to share; concurrent merges of one segment are committed in groups. Every method throws
 * `RollcallError`, and what the caller's own source of members throws.
 */
export interface Rollcall {
  readonly store: SegmentStore;
  /**
   * Applies a delta. Creates the segment if need be. Resolves when the changes are durable.
   * @throws `invalid_request`, `context_kind_mismatch`, `out_of_order`, `pepper_mismatch`, `segment_busy`, `stale_lease`,
   * `aborted`, `closed`, `corrupt_data`, and what the store throws: `store_unavailable`, `store_full`, `store_read_only`,
   * `access_denied`. After any of them repeating the same call is harmless.
   */
  merge(segmentKey: string, delta: Delta, options?: MergeOptions): Promise<SyncReport>;
  /**
   * Makes the lists named in `snapshot` hold exactly its members, in one instant for every reader. Creates the segment if need be.
   * @throws as {@link merge}, and `shrink_guard`; after any of them the segment reads as before.
   */
  replace(segmentKey: string, snapshot: Snapshot, options?: ReplaceOptions): Promise<SyncReport>;

  /** The segment, or `undefined` if there is none or it was deleted. */
  getSegment(segmentKey: string): Promise<Segment | undefined>;
  /** All live segments by key. */
  listSegments(): Promise<Segment[]>;
  /** The newest reports of the segment first, 100 at most. */
  getHistory(segmentKey: string): Promise<SyncReport[]>;
  getEnvironment(): Promise<Environment>;
  /**
   * Fixes the pepper, or that there is none, and `expectedContexts` of a new environment. The first sync does it too.
   * @throws `pepper_mismatch` if the environment was made with another pepper.
   */
  initialize(): Promise<Environment>;

  /** Sets details by hand: from then on no sync overwrites them. @throws `unknown_segment`. */
  editDetails(segmentKey: string, patch: DetailsPatch): Promise<Segment>;
  /** Deletes the segment; its members are dropped by a later sweep. @throws `unknown_segment`, `segment_busy`. */
  deleteSegment(segmentKey: string, options?: CallOptions): Promise<void>;
  /**
   * Removes a context from every segment of its kind, from retired sets too, so that the store holds nothing of it when the call resolves.
   * A snapshot under way is waited for.
   */
  forget(context: { readonly kind: string; readonly key: string }, options?: CallOptions): Promise<ForgetReport>;
  /** Keeps the resume hint of an ordered source in the environment record; move it after all its segments are synced. */
  setEnvironmentPosition(source: string, position: string): Promise<void>;

  /** Drops what syncs left behind: retired sets past their grace period, and staged sets of writers that died. */
  sweep(options?: CallOptions): Promise<SweepReport>;
  /** Recounts every set, looks for orphans and broken invariants; mends what it finds if `repair` is set. */
  verify(options?: CallOptions & { readonly repair?: boolean | undefined }): Promise<VerifyReport>;

  /** Waits for the calls under way. Does not close the store. Later calls throw `closed`. */
  close(): Promise<void>;
}

/** Makes the writing side of the environment that `store` is bound to. The store must be open. @throws `invalid_request`. */
export function createRollcall(store: SegmentStore, options: RollcallOptions = {}): Rollcall {
  const engine = createEngine(store, options);
  const merges = createMergeQueue(engine);
  let initialized: Promise<Environment> | undefined;
  let closed = false;
  const calls = new Set<Promise<unknown>>();

  function requireOpen(): void {
    if (closed) throw new RollcallError("closed", "this Rollcall was closed; make another");
  }

  async function initialize(): Promise<Environment> {
    requireOpen();
    initialized ??= initializeEnvironment(engine);
    try {
      return await initialized;
    } catch (error) {
      initialized = undefined;
      throw error;
    }
  }

  async function underWay<T>(work: () => Promise<T>): Promise<T> {
    const call = work();
    calls.add(call);
    try {
      return await call;
    } finally {
      calls.delete(call);
    }
  }

  /** Runs `work`, which may write the first members, once it is fixed how the environment hashes. */
  async function hashing<T>(work: () => Promise<T>): Promise<T> {
    return underWay(async () => {
      await initialize();
      return work();
    });
  }

  /** Runs `work`, which finds nothing in a new environment and so must not fix anything there. */
  async function checked<T>(work: () => Promise<T>): Promise<T> {
    requireOpen();
    return underWay(async () => {
      await checkEnvironment(engine);
      return work();
    });
  }

  // Only where something is counted: from the first time on that work has a context, Node makes every promise of the process slower.
  const measured = <T>(work: () => Promise<T>): Promise<T> =>
    store.capabilities.countsConsumption === true ? measureConsumption(work) : work();

  return {
    store,
    merge: (segmentKey, delta, call = {}) =>
      (call.dryRun === true ? checked : hashing)(() => measured(() => merges.merge(segmentKey, delta, call))),
    replace: (segmentKey, snapshot, call = {}) =>
      (call.dryRun === true ? checked : hashing)(() => measured(() => replace(engine, segmentKey, snapshot, call))),
    async getSegment(segmentKey) {
      const key = parseName(segmentKeySchema, segmentKey, "segment key");
      const segment = await engine.retrying(() => store.getSegment(key));
      return segment?.state === "live" ? segment : undefined;
    },
    async listSegments() {
      const segments = await engine.retrying(() => store.listSegments());
      return segments.filter((segment) => segment.state === "live").sort((a, b) => (a.key < b.key ? -1 : 1));
    },
    async getHistory(segmentKey) {
      const key = parseName(segmentKeySchema, segmentKey, "segment key");
      return engine.retrying(() => store.getHistory(key));
    },
    initialize,
    getEnvironment: () => engine.retrying(() => store.getEnvironment()),
    editDetails: (segmentKey, patch) => checked(() => editDetails(engine, segmentKey, patch)),
    deleteSegment: (segmentKey, call = {}) => checked(() => deleteSegment(engine, segmentKey, call)),
    forget: (context, call = {}) => checked(() => forget(engine, context, call)),
    setEnvironmentPosition: (source, position) => hashing(() => setEnvironmentPosition(engine, source, position)),
    sweep: (call = {}) => checked(() => sweep(engine, call)),
    verify: (call = {}) => checked(() => verify(engine, call)),
    async close() {
      closed = true;
      await Promise.allSettled(calls);
      await merges.drain();
    },
  };
}
