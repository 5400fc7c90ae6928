// Keeps a reader's snapshot of the registry young: polls the epoch while the reader is in use, listens where the store tells that it
// has moved, and re-reads on demand.

import type { Clock } from "./clock.js";
import { type Pepper, pepperCheck } from "./context-hash.js";
import { requireSamePepper } from "./environment.js";
import { listenToEpoch } from "./epoch-watch.js";
import { RollcallError } from "./errors.js";
import { buildSnapshot, type RegistrySnapshot } from "./registry-snapshot.js";
import type { SegmentStore } from "./store.js";

/** What a {@link RegistryFollower} goes by. */
export interface RegistryFollowerOptions {
  readonly store: SegmentStore;
  readonly pepper: Pepper;
  readonly cacheSize: number;
  readonly pollMs: number;
  readonly maxAgeMs: number;
  readonly clock: Clock;
  /** Told of every reading that failed, and of every watch of the epoch that broke. */
  readonly onFailure: () => void;
}

/** How often a reading is repeated that was too old by the time it arrived. */
const MAX_ATTEMPTS = 3;

/** After a reading that the store has caused, what moves in this time waits for one reading at its end. */
const MOVED_PAUSE_MS = 200;

/**
 * Holds the newest snapshot, which only ever moves forward: readings follow one another, never overlap, and each sees
 * every change acknowledged before it began.
 */
export class RegistryFollower {
  /** The newest snapshot, also when it is too old to answer from: it tells what was known last. */
  snapshot: RegistrySnapshot | undefined;
  readonly #options: RegistryFollowerOptions;
  readonly #pepperCheck: string | undefined;
  /** Until when, in monotonic milliseconds, answers may be given from the snapshot. */
  #usableUntil = Number.NEGATIVE_INFINITY;
  /** From when on a call starts a poll. */
  #dueAt = Number.NEGATIVE_INFINITY;
  /** Set by every call, so that polling goes on. */
  #used = false;
  #reading: Promise<void> | undefined;
  #queued: Promise<void> | undefined;
  #failure: { readonly error: unknown; readonly retryAt: number } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lastUsedAt = Number.NEGATIVE_INFINITY;
  #stopListening = () => {};
  #movedPause: NodeJS.Timeout | undefined;
  #movedInPause = false;
  #closed = false;

  constructor(options: RegistryFollowerOptions) {
    this.#options = options;
    this.#pepperCheck = pepperCheck(options.pepper);
  }

  /** The snapshot, if answers may be given from it at `now` (monotonic); starts a poll if one is due. Hot. */
  usable(now: number): RegistrySnapshot | undefined {
    this.#used = true;
    if (now > this.#usableUntil) return undefined;
    if (now >= this.#dueAt) this.poll();
    return this.snapshot;
  }

  /** Whether `snapshot`, which may have been replaced since, is young enough at `now` (monotonic) to answer from. */
  isYoung(snapshot: RegistrySnapshot, now: number): boolean {
    const { clock, maxAgeMs } = this.#options;
    return now - snapshot.asOf.monotonic <= maxAgeMs && clock.now() - snapshot.asOf.wall <= maxAgeMs;
  }

  /**
   * Resolves when there is a snapshot to answer from: at once, or when a new one has been read. After a failure it fails
   * at once, with the same error, until the next poll is due.
   */
  async fresh(): Promise<void> {
    const { clock, maxAgeMs, store } = this.#options;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      this.#requireOpen();
      const now = clock.monotonic();
      const snapshot = this.usable(now);
      if (snapshot !== undefined && this.isYoung(snapshot, now)) return;
      if (this.#failure !== undefined && now < this.#failure.retryAt) throw this.#failure.error;
      await this.#read();
    }
    throw new RollcallError(
      "store_unavailable",
      `reading the registry of environment ${store.environment} took longer than maxRegistryAgeMs (${maxAgeMs}) each time`,
    );
  }

  /** A reading that begins after this call. */
  refresh(): Promise<void> {
    this.#requireOpen();
    if (this.#reading === undefined) return this.#read();
    const begin = () => {
      this.#queued = undefined;
      return this.#read();
    };
    // The outcome of the reading under way is told to those who asked for that one.
    this.#queued ??= this.#reading.then(begin, begin);
    return this.#queued;
  }

  /** Starts a reading in the background. A failure is counted, and the next poll tries again. */
  poll(): void {
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#read().catch(() => {});
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#rest();
  }

  /** The next call reads the registry again before it answers. */
  #rest(): void {
    this.#timer = undefined;
    this.#usableUntil = Number.NEGATIVE_INFINITY;
    this.#stopListening();
    clearTimeout(this.#movedPause);
    this.#movedPause = undefined;
  }

  #read(): Promise<void> {
    this.#reading ??= this.#readNow().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readNow(): Promise<void> {
    const { clock, pollMs, onFailure } = this.#options;
    this.#dueAt = Number.POSITIVE_INFINITY;
    this.#keepPolling();
    try {
      await this.#advance();
      this.#failure = undefined;
    } catch (error) {
      onFailure();
      const retryAt = clock.monotonic() + pollMs;
      this.#failure = { error, retryAt };
      this.#dueAt = retryAt;
      throw error;
    }
  }

  /**
   * The order of the readings is what keeps a snapshot true. Its age counts from before the epoch; the epoch comes before
   * the segments, so that a change between the two shows at the next poll; the environment comes after the segments, so
   * that it names the pepper by which their members were hashed.
   */
  async #advance(): Promise<void> {
    const { clock, store, cacheSize } = this.#options;
    const asOf = { monotonic: clock.monotonic(), wall: clock.now() };
    const epoch = await store.getEpoch();
    if (this.snapshot?.epoch === epoch) {
      this.snapshot.asOf = asOf;
    } else {
      const segments = await store.listSegments();
      const environment = await store.getEnvironment();
      if (environment.initialized) requireSamePepper(environment, this.#pepperCheck, store.environment);
      this.snapshot = buildSnapshot({ asOf, epoch, segments, environment }, this.snapshot, cacheSize);
    }
    if (this.#closed) return;
    this.#usableUntil = asOf.monotonic + this.#options.maxAgeMs;
    this.#dueAt = asOf.monotonic + this.#options.pollMs;
  }

  #requireOpen(): void {
    if (this.#closed) throw new RollcallError("closed", "the reader was closed; make another");
  }

  #keepPolling(): void {
    if (this.#closed || this.#timer !== undefined) return;
    const { clock, store, onFailure } = this.#options;
    this.#lastUsedAt = clock.monotonic();
    this.#schedule();
    this.#stopListening = listenToEpoch(store, { onMoved: () => this.#moved(), onFailure });
  }

  /** The epoch may have moved: reads at once, and after a pause once for all that moved in it. */
  #moved(): void {
    this.#movedInPause = this.#movedPause !== undefined;
    if (this.#movedInPause) return;
    this.#movedPause = setTimeout(() => {
      this.#movedPause = undefined;
      if (this.#movedInPause) this.#moved();
    }, MOVED_PAUSE_MS);
    this.#movedPause.unref();
    // One that is under way may have asked for the epoch before it moved. A failure is counted, and the next poll tries again.
    this.refresh().catch(() => {});
  }

  #schedule(): void {
    this.#timer = setTimeout(() => this.#tick(), this.#options.pollMs);
    this.#timer.unref();
  }

  #tick(): void {
    const { clock, maxAgeMs, pollMs } = this.#options;
    const now = clock.monotonic();
    if (this.#used) {
      this.#used = false;
      this.#lastUsedAt = now;
    } else if (now - this.#lastUsedAt > maxAgeMs) {
      // Nobody asks any more.
      this.#rest();
      return;
    }
    this.#schedule();
    // A machine that was suspended may have stopped the monotonic clock, by which alone hits are judged.
    if (this.snapshot !== undefined && !this.isYoung(this.snapshot, now)) this.#usableUntil = Number.NEGATIVE_INFINITY;
    // A call may have polled just now.
    if (this.snapshot === undefined || now - this.snapshot.asOf.monotonic >= pollMs / 2) this.poll();
  }
}
