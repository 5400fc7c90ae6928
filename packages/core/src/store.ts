// The store port: what an adapter does for core. The comments are law in both directions: what core guarantees to the
// adapter, and what the adapter must do.

import type { Consumption } from "./consumption.js";
import type { ContextHashes } from "./context-hashes.js";
import type { CostEstimate, CostWorkload, UnitPrices } from "./cost.js";
import type { EnvironmentName, SegmentKey } from "./names.js";
import type { SyncReport } from "./report.js";
import type { Environment, MemberSet, MemberSetId, Revision, Segment } from "./segment.js";

/**
 * The version of this interface. Policy: within one version an adapter written today keeps working; an addition is
 * optional or declared by a capability; anything else raises the number, and core refuses an adapter of another one.
 */
export const STORE_PORT_VERSION = 1;

/** What an adapter can and cannot do. The conformance suite checks what each one promises, and asks for no adapter's name. */
export interface StoreCapabilities {
  readonly portVersion: typeof STORE_PORT_VERSION;
  /**
   * What one raised fence guards. `set`: from the moment {@link SegmentStore.raiseFence} resolves, no older writer can
   * change any block of the set. `block`: only blocks that the newer writer has touched are guarded; so a write of a dead
   * writer that arrives late can change the others, and a count that was exact before. The adapter's page says so.
   */
  readonly fencing: "set" | "block";
  /** The most that core puts in one {@link SegmentStore.writeBlocks} call, and how many such calls run at once. */
  readonly window: { readonly maxMembers: number; readonly maxBlocks: number; readonly concurrency: number };
  /** The most hashes that core passes to one {@link SegmentStore.findMemberSets} call. */
  readonly maxLookup: number;
  /** Whether the store counts what its requests consume, by `countConsumption`: then core tells it of each sync. Default `false`. */
  readonly countsConsumption?: boolean;
}

/**
 * Who writes: carried by every write of members. Fences of one member set are ordered by `token`; two fences of one token
 * are the same only if `holder` is too.
 */
export interface Fence {
  readonly segmentKey: SegmentKey;
  readonly generation: number;
  readonly holder: string;
  readonly token: number;
}

/** The changes of one member set in one shard. `adds` and `removes` are sorted, unique and disjoint, not both empty. */
export interface Block {
  readonly shard: number;
  readonly adds: ContextHashes;
  readonly removes: ContextHashes;
}

/** How many members a write really added (were absent) and removed (were present). */
export interface MemberChanges {
  readonly added: number;
  readonly removed: number;
}

/** What decides on the size of blocks. */
export interface SetSizes {
  /** Members that the set is going to have. */
  readonly members: number;
  /** Distinct contexts of the environment, as far as core knows: at least the largest set, `expectedContexts` if given. */
  readonly contexts: number;
}

/** What core tells of a {@link SegmentStore.putSegment} beside the record. */
export interface PutSegmentOptions {
  /**
   * Whether readers may answer otherwise after it. `false` of a lease, a staged set or a merge: then nobody who watches the epoch need
   * be told. Default `true`.
   */
  readonly changesAnswers?: boolean | undefined;
  /** Write in this timeline only: the one in which the lease was taken. Default: in any. */
  readonly timeline?: Timeline | undefined;
  /**
   * What the segment's history gets to say of it, oldest first, 100 at most: added in the same atomic step as the record, and only if that
   * is written. The history forgets the oldest beyond 100. Default: nothing.
   */
  readonly reports?: readonly SyncReport[] | undefined;
}

/**
 * The name of one unbroken history of a database: as long as it stays the same, nothing that was acknowledged is lost; opaque. A server
 * that takes over from another begins a new one, even where it has everything.
 */
export type Timeline = string & { readonly timeline: unique symbol };

/** A member set that the store knows of. */
export interface StoredMemberSet extends MemberSet {
  /** Its fence; absent when a drop has removed it but was interrupted before the last member. */
  readonly fence?: Fence;
}

/** Changes whenever any segment record changes; opaque. */
export type Epoch = string;

/**
 * A handle on one environment in one database.
 *
 * Every method may throw a `RollcallError`; native errors are mapped at the adapter's edge. A method that throws
 * `store_unavailable` may or may not have taken effect; any other error means that it had none, except that of the calls that say so. No method retries on its
 * own, and no client below it may: retries are core's. (What a database refused for load, so that it surely had no effect, goes
 * again by core's own `createPace`.) Calls may overlap. Nothing resolves before it is as durable
 * as the adapter's page says.
 */
export interface SegmentStore {
  readonly environment: EnvironmentName;
  readonly capabilities: StoreCapabilities;

  /**
   * Connects, creates what is missing, checks the layout version. Idempotent. After it, {@link getEnvironment} answers.
   * @throws `layout_mismatch` on a newer layout or foreign data; `access_denied`, `store_read_only`, `store_unavailable`.
   */
  open(): Promise<void>;
  /** Closes what this adapter itself opened, not a client that the user passed in. Idempotent. Later calls throw `closed`. */
  close(): Promise<void>;

  /** The environment record. */
  getEnvironment(): Promise<Environment>;
  /**
   * Writes `next` if the stored revision is `expectedRevision`.
   * @throws `revision_conflict` otherwise.
   */
  putEnvironment(next: Environment, expectedRevision: Revision): Promise<void>;

  /** The segment record as of the newest acknowledged write; a deleted segment stays as a tombstone. */
  getSegment(key: SegmentKey): Promise<Segment | undefined>;
  /** All segment records, tombstones too, in any order; each one as of the newest write acknowledged before the call. */
  listSegments(): Promise<Segment[]>;
  /**
   * Writes `next` if the stored revision is `expectedRevision`, or if there is no record and `expectedRevision` is
   * `undefined`; moves the epoch and adds the `reports` to the history in the same atomic step. Core gives `next.revision` a
   * fresh unguessable value.
   *
   * Answers in which timeline it was written, or `undefined` where nothing acknowledged can be lost behind a running process's back, or the
   * database cannot tell. A fail-over may take back some writes of a lease and leave the lease; so core hands in the timeline
   * of the write that took it with every later write of the lease. It is compared in the same atomic step as the revision.
   * @throws `revision_conflict` if the revision is another one; `stale_lease` ({@link otherTimeline}) if the timeline is.
   */
  putSegment(
    next: Segment,
    expectedRevision: Revision | undefined,
    options?: PutSegmentOptions,
  ): Promise<Timeline | undefined>;
  /** The current epoch, never older than the newest acknowledged {@link putSegment}; one tiny read. */
  getEpoch(): Promise<Epoch>;
  /**
   * Optional, for a database that can tell: calls `onMoved` when it begins to hear, because what moved before went unheard, and then soon
   * after each {@link putSegment} of any handle on this environment that may change answers. Best effort: it may call for no
   * reason, once for several, or not at all, and core polls the epoch all the same.
   *
   * Resolves when there is nothing more to hear, and core does not call again: when `signal` fires, when this handle is closed, or where
   * the database turns out unable. Rejects when the connection broke, and core calls again after a pause. By then it
   * has let go of all that it held, {@link close} waits for that, and `onMoved` is not called any more. It keeps no process alive.
   * Core guarantees that `onMoved` returns at once and never throws, and shares one watch among all readers of a handle.
   * @throws `store_unavailable`; `closed` on a handle that is not open.
   */
  watchEpoch?(onMoved: () => void, signal: AbortSignal): Promise<void>;

  /** The reports of the segment, newest first, 100 at most: kept apart from the record, which readers poll. */
  getHistory(key: SegmentKey): Promise<SyncReport[]>;

  /**
   * Reserves a number that this environment has never used, and creates its fence for `fence`, in this order. Where the fence
   * of a fresh number exists already (a fail-over lost the reservation), takes another number. What an error leaves behind is reserved
   * and no more, for a sweep to drop.
   */
  allocateMemberSet(shardBits: number, fence: Fence): Promise<MemberSet>;
  /**
   * How many leading bits cut a set of these sizes into blocks of the size that suits the layout, 0 to 24. A pure
   * function, monotonic in both sizes. Core rewrites a set when the answer has grown by two.
   */
  chooseShardBits(sizes: SetSizes): number;
  /**
   * From now on only this writer or a newer one may write the set (see `fencing`). Idempotent.
   * @throws `stale_lease` if the set has no fence (it was dropped), if the fence names another segment or generation, or if it
   * holds a higher token or the same token of another holder; {@link lostMembers}.
   */
  raiseFence(set: MemberSet, fence: Fence): Promise<void>;
  /**
   * Applies the changes. Core guarantees that `blocks` come in the order of their shards, none twice and none empty, that all hashes belong to
   * their shard, and that the window's limits hold. It may change the array once the promise has settled; a store that needs it longer copies it. Each member's change is atomic. The fence is checked as by {@link raiseFence}, and raised,
   * in the same atomic step as each block is written, also where a block turns out to need no change. Repeating a call ends in the same members.
   * @throws as {@link raiseFence}; blocks written before an error may stay.
   */
  writeBlocks(set: MemberSet, blocks: readonly Block[], fence: Fence): Promise<MemberChanges>;
  /**
   * For each of `hashes` (in any order, repeats allowed) the ids out of `among` that it is a member of, in any order. Sees every write acknowledged
   * before the call. Sets not in `among` do not show and cost little; nobody changes the array afterwards, and core passes the same one as long as it asks
   * about the same sets. One round trip, and one more where it must make sure that the
   * database has kept the sets. @throws {@link lostMembers} rather than to answer from what is left.
   */
  findMemberSets(hashes: ContextHashes, among: readonly MemberSet[]): Promise<MemberSetId[][]>;
  /**
   * All members, each exactly once, in chunks of any size, in any order; holds no transaction open between chunks. Members
   * that change during the scan may be seen or not. Where the database has lost a part of the set, throws
   * {@link lostMembers} after all that is left.
   */
  scanMembers(set: MemberSet): AsyncIterable<ContextHashes>;
  /**
   * Optional, for a database that is paid by use: what a sync would consume, by the adapter's formula. A pure function.
   */
  estimateSync?(planned: PlannedSync): Consumption;
  /**
   * Removes the fences first, then every member. Core guarantees that no segment points at these sets and that no reader
   * asks for them any more. Idempotent; sets that are unknown are not an error. After an interruption the same call completes it.
   */
  dropMemberSets(sets: readonly MemberSet[]): Promise<void>;
  /**
   * Every member set from its allocation until its drop is complete, whether a segment points at it or not. Cheap: it costs
   * by the number of sets and not of members, so the adapter keeps one small record for each set.
   */
  listMemberSets(): Promise<StoredMemberSet[]>;
}

/** What a sync would do to each list that it changes; for the formula of {@link SegmentStore.estimateSync}. */
export interface PlannedSync {
  /** The segment's record before it. */
  readonly segment: Segment;
  readonly lists: readonly PlannedList[];
}

/** A list that a sync would change. */
export interface PlannedList {
  /**
   * Into how many shards the set that is written is or would be cut: a replace writes a new one, a merge changes the present one. A merge that
   * would give its set smaller blocks first is two of these, the first of them the copy.
   */
  readonly shardBits: number;
  /** Members after it. */
  readonly members: number;
  /** Of a merge: distinct members that it names, present ones too. `undefined` of a replace, which writes all. */
  readonly changes?: { readonly adds: number; readonly removes: number } | undefined;
  /** Of a replace: the set that is compared with the new one and dropped later. */
  readonly replaced?: { readonly shardBits: number; readonly members: number } | undefined;
}

/** What an adapter package exports as `storeFactory`, so that {@link openStore} finds it by URL scheme. */
export interface StoreFactory {
  /** The URL schemes, without colon and without what follows a `+`: `redis`, `rediss`. */
  readonly schemes: readonly string[];
  /** Makes a store, not yet opened. Throws `invalid_request` on a URL it cannot read; the message holds no password. */
  createStore(url: string, options: StoreOptions): SegmentStore;
  /** Optional, for a database that is paid by use: what a workload costs there, by the adapter's formula. */
  estimateCosts?(workload: CostWorkload, prices?: UnitPrices): CostEstimate;
}

/** Options that every adapter takes. */
export interface StoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string;
  /**
   * Opens what exists and writes nothing: `open` and all that would write throw `store_read_only`. Default `false`. A store in memory
   * begins empty and takes no notice.
   */
  readonly readOnly?: boolean;
}

/** The part of a {@link SegmentStore} that keeps records, for adapters that make it apart from the members. */
export type StoreRecords = Pick<
  SegmentStore,
  "getEnvironment" | "putEnvironment" | "getSegment" | "listSegments" | "putSegment" | "getEpoch" | "getHistory"
>;
