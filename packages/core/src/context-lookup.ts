// From context keys to their member sets: one flight per context, and one round trip for all that is asked in one tick.

import { nextTick } from "node:process";
import type { Clock } from "./clock.js";
import type { ResolvedContext } from "./context-cache.js";
import type { HashWriter } from "./context-hash.js";
import { CONTEXT_HASH_BYTES, type ContextHashes } from "./context-hashes.js";
import { isLossOfMembers, RollcallError } from "./errors.js";
import type { RegistryFollower } from "./registry-follower.js";
import type { KindView, RegistrySnapshot } from "./registry-snapshot.js";
import type { MemberSet, MemberSetId } from "./segment.js";
import type { SegmentStore } from "./store.js";

/** What a {@link ContextLookup} goes by. */
export interface ContextLookupOptions {
  readonly store: SegmentStore;
  readonly registry: RegistryFollower;
  readonly writeHash: HashWriter;
  /** A flight is joined only while it is younger. */
  readonly cacheTtlMs: number;
  readonly clock: Clock;
  /** Told of every lookup that is sent. */
  readonly onRoundTrip: () => void;
  /** Told of every lookup that failed. */
  readonly onFailure: () => void;
}

/** Who waits for a context. Exactly one of the two is called, once. */
export interface Waiter {
  /** `resolved` holds the sets out of those of `snapshot`, which may be newer than the one at the time of asking. */
  resolved(resolved: ResolvedContext, snapshot: RegistrySnapshot): void;
  failed(error: unknown): void;
}

/** Lookups under way at once; beyond it, those that wait gather in fewer and larger ones. */
const MAX_IN_FLIGHT = 16;
/** How often a lookup is repeated whose snapshot was too old by the time the members arrived. */
const MAX_ATTEMPTS = 3;
const SETTLED = Promise.resolve();
const NO_SETS: readonly MemberSetId[] = [];

interface Flight {
  readonly key: string;
  readonly batch: Batch;
  readonly waiter: Waiter;
  others: Waiter[] | undefined;
}

interface Batch {
  readonly lane: Lane;
  readonly flights: Flight[];
  hashes: Buffer;
  /** Monotonic milliseconds from before it was sent. */
  since: number;
  /** What it was sent with; absent while it waits. */
  snapshot: RegistrySnapshot | undefined;
  attempts: number;
  /** What the store said of sets that have lost members, which the batch does without. */
  loss: RollcallError | undefined;
}

/** The lookups of one context kind. */
interface Lane {
  readonly kind: string;
  readonly flights: Map<string, Flight>;
  /** Takes more contexts until it is sent or full. */
  open: Batch | undefined;
}

/** Looks contexts up in the store and puts what it finds in the cache of their kind. */
export class ContextLookup {
  readonly #options: ContextLookupOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #queue: Batch[] = [];
  #inFlight = 0;
  #armed = false;
  /** The memory of a settled batch of one, for the next: who asks one by one is spared an allocation. */
  #spareHashes: Buffer | undefined;
  /** Whether the last flush carried more than one context. */
  #gathering = true;

  constructor(options: ContextLookupOptions) {
    this.#options = options;
  }

  /**
   * Looks `key` up; answers `false`, and forgets the waiter, if the key is not valid. `snapshot` is the newest, `now` is
   * monotonic.
   */
  find(snapshot: RegistrySnapshot, kind: string, key: string, now: number, waiter: Waiter): boolean {
    const lane = this.#lane(kind);
    const known = lane.flights.get(key);
    if (known !== undefined && this.#isJoinable(known.batch, snapshot, now)) {
      known.others ??= [];
      known.others.push(waiter);
      return true;
    }
    const batch = lane.open ?? this.#openBatch(lane, now);
    const { flights } = batch;
    const offset = flights.length * CONTEXT_HASH_BYTES;
    if (offset === batch.hashes.length) batch.hashes = grow(batch.hashes);
    if (this.#options.writeHash(key, batch.hashes, offset) !== undefined) return false;
    lane.open = batch;
    const flight: Flight = { key, batch, waiter, others: undefined };
    lane.flights.set(key, flight);
    if (flights.push(flight) === 1) this.#enqueue(batch);
    if (flights.length === this.#options.store.capabilities.maxLookup) lane.open = undefined;
    return true;
  }

  /** From now on no call joins a flight that is under way, and none of these is cached. */
  abandon(): void {
    for (const lane of this.#lanes.values()) lane.flights.clear();
  }

  #openBatch(lane: Lane, now: number): Batch {
    const hashes = this.#spareHashes ?? Buffer.allocUnsafe(CONTEXT_HASH_BYTES);
    this.#spareHashes = undefined;
    return { lane, flights: [], hashes, since: now, snapshot: undefined, attempts: 0, loss: undefined };
  }

  #lane(kind: string): Lane {
    let lane = this.#lanes.get(kind);
    if (lane === undefined) {
      lane = { kind, flights: new Map(), open: undefined };
      this.#lanes.set(kind, lane);
    }
    return lane;
  }

  /** A flight with an older snapshot must not serve a call that began when a newer one was there already. */
  #isJoinable(batch: Batch, snapshot: RegistrySnapshot, now: number): boolean {
    if (batch.snapshot === undefined) return true;
    return batch.snapshot === snapshot && now - batch.since < this.#options.cacheTtlMs;
  }

  #enqueue(batch: Batch): void {
    this.#queue.push(batch);
    if (this.#armed) return;
    this.#armed = true;
    // Never a timer, and never a turn of the event loop, so that a caller who asks one by one waits for nothing. Where several
    // ask at once, after every promise that is settled by now: whoever goes on from one asks within the same batch.
    void SETTLED.then(this.#gathering ? this.#afterMicrotasks : this.#flush);
  }

  readonly #afterMicrotasks = () => nextTick(this.#flush);

  readonly #flush = () => {
    this.#armed = false;
    const [first, second] = this.#queue;
    this.#gathering = second !== undefined || (first !== undefined && first.flights.length > 1);
    this.#pump();
  };

  #pump(): void {
    while (this.#inFlight < MAX_IN_FLIGHT) {
      const batch = this.#queue.shift();
      if (batch === undefined) return;
      if (batch.lane.open === batch) batch.lane.open = undefined;
      this.#send(batch);
    }
  }

  #send(batch: Batch): void {
    const { registry, store, onRoundTrip, onFailure } = this.#options;
    const { snapshot } = registry;
    if (snapshot === undefined) {
      this.#renew(batch);
      return;
    }
    const kind = snapshot.kinds.get(batch.lane.kind);
    const sets = kind === undefined ? [] : without(kind.sets, batch.loss);
    if (kind === undefined || sets.length === 0) {
      this.#settle(batch, kind, snapshot, undefined);
      return;
    }
    batch.snapshot = snapshot;
    this.#inFlight++;
    onRoundTrip();
    let finding: Promise<MemberSetId[][]>;
    try {
      finding = store.findMemberSets(hashesOf(batch), sets);
    } catch (error) {
      finding = Promise.reject(error);
    }
    finding.then(
      (found) => {
        this.#inFlight--;
        this.#arrive(batch, kind, snapshot, found);
        this.#pump();
      },
      (error) => {
        this.#inFlight--;
        onFailure();
        if (batch.loss === undefined && isLossOfMembers(error)) this.#sendWithout(batch, error);
        else this.#fail(batch, error);
        this.#pump();
      },
    );
  }

  /** One segment that has lost members must not keep the others from answering. */
  #sendWithout(batch: Batch, loss: RollcallError): void {
    batch.loss = loss;
    this.#send(batch);
  }

  #arrive(batch: Batch, kind: KindView, snapshot: RegistrySnapshot, found: readonly MemberSetId[][]): void {
    const { clock, registry, store, onFailure } = this.#options;
    if (found.length !== batch.flights.length) {
      onFailure();
      const message = `the store answered ${found.length} contexts of environment ${store.environment} instead of ${batch.flights.length}`;
      this.#fail(batch, new RollcallError("corrupt_data", message));
      return;
    }
    // The process may have slept since, and the sets that it asked for may be dropped by now.
    if (registry.isYoung(snapshot, clock.monotonic())) this.#settle(batch, kind, snapshot, found);
    else this.#renew(batch);
  }

  /** Reads the registry again, then sends the batch again. */
  #renew(batch: Batch): void {
    const { clock, registry, store } = this.#options;
    batch.snapshot = undefined;
    if (++batch.attempts === MAX_ATTEMPTS) {
      const message = `looking contexts up in environment ${store.environment} took longer than maxRegistryAgeMs each time`;
      this.#fail(batch, new RollcallError("store_unavailable", message));
      return;
    }
    registry.fresh().then(
      () => {
        batch.since = clock.monotonic();
        this.#enqueue(batch);
      },
      (error) => this.#fail(batch, error),
    );
  }

  #settle(
    { flights, hashes, lane, since, loss }: Batch,
    kind: KindView | undefined,
    snapshot: RegistrySnapshot,
    found: readonly MemberSetId[][] | undefined,
  ): void {
    const resolvedAt = Math.floor(since);
    if (hashes.length === CONTEXT_HASH_BYTES) this.#spareHashes = hashes;
    for (let i = 0; i < flights.length; i++) {
      const flight = flights[i] as Flight;
      const resolved: ResolvedContext = {
        ids: shareIds(kind, found?.[i]),
        version: snapshot.version,
        resolvedAt,
        loss,
      };
      // A flight that has been replaced or abandoned knows less than what came after it.
      if (lane.flights.get(flight.key) === flight) {
        lane.flights.delete(flight.key);
        if (loss === undefined) kind?.cache.set(flight.key, resolved);
      }
      flight.waiter.resolved(resolved, snapshot);
      if (flight.others !== undefined) for (const waiter of flight.others) waiter.resolved(resolved, snapshot);
    }
  }

  #fail({ flights, lane }: Batch, error: unknown): void {
    for (const flight of flights) {
      if (lane.flights.get(flight.key) === flight) lane.flights.delete(flight.key);
      flight.waiter.failed(error);
      for (const waiter of flight.others ?? []) waiter.failed(error);
    }
  }
}

/** Most contexts are in no set or in one: these share their arrays, which keeps the cache small and close. */
function shareIds(kind: KindView | undefined, ids: readonly MemberSetId[] | undefined): readonly MemberSetId[] {
  const first = ids?.[0];
  if (ids === undefined || first === undefined) return NO_SETS;
  return ids.length === 1 ? (kind?.listBySet.get(first)?.alone ?? ids) : ids;
}

function without(sets: readonly MemberSet[], loss: RollcallError | undefined): readonly MemberSet[] {
  return loss === undefined ? sets : sets.filter(({ id }) => !loss.lostSets.includes(id));
}

function hashesOf({ hashes, flights }: Batch): ContextHashes {
  const length = flights.length * CONTEXT_HASH_BYTES;
  return hashes.length === length ? hashes : hashes.subarray(0, length);
}

function grow(hashes: Buffer): Buffer {
  const grown = Buffer.allocUnsafe(hashes.length * 2);
  grown.set(hashes);
  return grown;
}
