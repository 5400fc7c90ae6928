// Time as a dependency: wall clock for leases and records, monotonic clock for ages, and a sleep that can be aborted.

import { setTimeout as delay } from "node:timers/promises";
import { RollcallError } from "./errors.js";

/** Where time comes from; pass your own to control it in tests. */
export interface Clock {
  /** Wall-clock milliseconds since 1970, as of `Date.now()`. */
  now(): number;
  /** Milliseconds that never go back, from an arbitrary start, as of `performance.now()`. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with `aborted` when the signal fires. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (cause) {
      throw new RollcallError("aborted", "the call was aborted", { cause });
    }
  },
};
