// What every operation of the writing side shares: the store, the options with their defaults filled in, and retries.

import { LRUCache } from "lru-cache";
import pRetry, { AbortError } from "p-retry";
import type { Clock } from "./clock.js";
import { systemClock } from "./clock.js";
import type { Pepper } from "./context-hash.js";
import { isRollcallError, RollcallError, throwIfAborted } from "./errors.js";
import { requireKnownOptions } from "./known-options.js";
import type { SegmentKey } from "./names.js";
import type { RollcallOptions } from "./rollcall.js";
import type { Segment } from "./segment.js";
import { type SegmentStore, STORE_PORT_VERSION } from "./store.js";

/** Options with every default filled in. */
interface EngineOptions {
  readonly pepper: Pepper;
  readonly expectedContexts: number | undefined;
  readonly leaseTtlMs: number;
  readonly leaseWaitMs: number;
  readonly graceMs: number;
  readonly minRemaining: number;
  readonly memoryLimitBytes: number;
  readonly tempDir: string | undefined;
  readonly retries: number;
  readonly minDelayMs: number;
  readonly warn: (warning: Error) => void;
  readonly clock: Clock;
}

/** The shared part of every operation. */
export interface Engine {
  readonly store: SegmentStore;
  readonly options: EngineOptions;
  readonly clock: Clock;
  /** The records of segments as the leases of this handle left them last. */
  readonly lastLeft: LRUCache<SegmentKey, LeftSegment>;
  /**
   * Repeats `call` after `store_unavailable`, with growing jittered pauses. `onRetry` learns that an earlier attempt may have
   * taken effect.
   */
  retrying<T>(call: () => Promise<T>, options?: { signal?: AbortSignal | undefined; onRetry?: () => void }): Promise<T>;
}

/** A record as a lease left it. */
interface LeftSegment {
  readonly segment: Segment;
  /**
   * Whether nobody else is known to have written it between that lease and the one before. Then the next lease guesses that it is still so, and
   * saves the reading; where several processes write one segment in turn, a guess would only be one more write, in vain.
   */
  readonly isAlone: boolean;
}

/** Records of one kilobyte to some ten. */
const MOST_LEFT_SEGMENTS = 256;

/** Checks the options and the adapter's version. */
export function createEngine(store: SegmentStore, options: RollcallOptions): Engine {
  if (store.capabilities.portVersion !== STORE_PORT_VERSION) {
    throw new RollcallError(
      "invalid_request",
      `the adapter speaks version ${String(store.capabilities.portVersion)} of the store port, core speaks ${STORE_PORT_VERSION}; install matching versions`,
    );
  }
  requireKnownOptions(options, Object.keys(OPTIONS));
  const settings = fillDefaults(options);
  return {
    store,
    options: settings,
    clock: settings.clock,
    lastLeft: new LRUCache({ max: MOST_LEFT_SEGMENTS }),
    async retrying(call, { signal, onRetry } = {}) {
      throwIfAborted(signal);
      // By itself: the machinery of repeating costs as much as a step of a small merge.
      let failure: unknown;
      try {
        return await call();
      } catch (error) {
        throwIfAborted(signal);
        if (!isRollcallError(error, "store_unavailable")) throw asError(error);
        failure = error;
      }
      let attempts = 1;
      try {
        return await pRetry(
          async () => {
            if (attempts++ === 1) throw failure;
            throwIfAborted(signal);
            onRetry?.();
            try {
              return await call();
            } catch (error) {
              // p-retry does not repeat an AbortError; what it wraps comes out again below.
              throw isRollcallError(error, "store_unavailable") ? error : new AbortError(asError(error));
            }
          },
          {
            retries: settings.retries,
            minTimeout: settings.minDelayMs,
            randomize: true,
            ...(signal === undefined ? {} : { signal }),
          },
        );
      } catch (error) {
        throwIfAborted(signal);
        throw error;
      }
    },
  };
}

/** The options that there are. */
const OPTIONS: { readonly [Option in keyof RollcallOptions]-?: true } = {
  pepper: true,
  expectedContexts: true,
  leaseTtlMs: true,
  leaseWaitMs: true,
  graceMs: true,
  minRemaining: true,
  memoryLimitBytes: true,
  tempDir: true,
  retry: true,
  onWarning: true,
  clock: true,
};

function fillDefaults(options: RollcallOptions): EngineOptions {
  const settings: EngineOptions = {
    pepper: options.pepper,
    expectedContexts: options.expectedContexts,
    leaseTtlMs: options.leaseTtlMs ?? 15_000,
    leaseWaitMs: options.leaseWaitMs ?? 60_000,
    graceMs: options.graceMs ?? 300_000,
    minRemaining: options.minRemaining ?? 0.5,
    memoryLimitBytes: options.memoryLimitBytes ?? 268_435_456,
    tempDir: options.tempDir,
    retries: options.retry?.retries ?? 5,
    minDelayMs: options.retry?.minDelayMs ?? 100,
    warn: guarded(options.onWarning ?? ((warning) => process.emitWarning(warning))),
    clock: options.clock ?? systemClock,
  };
  for (const name of ["leaseTtlMs", "leaseWaitMs", "graceMs", "memoryLimitBytes", "retries", "minDelayMs"] as const) {
    if (!Number.isFinite(settings[name]) || settings[name] < 0) {
      throw new RollcallError("invalid_request", `${name} must be a number of 0 or more`);
    }
  }
  if (settings.leaseTtlMs < 1) throw new RollcallError("invalid_request", "leaseTtlMs must be 1 or more");
  if (!(settings.minRemaining >= 0 && settings.minRemaining <= 1)) {
    throw new RollcallError("invalid_request", "minRemaining must be a number from 0 to 1");
  }
  if (
    settings.expectedContexts !== undefined &&
    !(Number.isSafeInteger(settings.expectedContexts) && settings.expectedContexts > 0)
  ) {
    throw new RollcallError("invalid_request", "expectedContexts must be a positive integer");
  }
  if (settings.pepper !== undefined && settings.pepper.length === 0) {
    throw new RollcallError("invalid_request", "pepper must not be empty; leave it out to use none");
  }
  return settings;
}

// Warnings are given from the background too, where what the callback throws would end the process.
function guarded(onWarning: (warning: Error) => void): (warning: Error) => void {
  return (warning) => {
    try {
      onWarning(warning);
    } catch (error) {
      process.emitWarning(asError(error));
    }
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
