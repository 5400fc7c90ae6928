// Time for the checks: it stands still until somebody sleeps or moves it by hand, so that nothing waits for real.

import { type Clock, RollcallError } from "@rollcall/core";

/** Wall-clock start of every virtual clock. */
const START = Date.UTC(2024, 0, 1);
/** Turns of the event loop without a store call after which all work counts as waiting for time. */
const IDLE_TURNS = 3;

/** How often that may be so while somebody looks on, until he must be waiting for time himself. */
const WATCH_TURNS = 30;

interface Timer {
  readonly at: number;
  readonly drives: boolean;
  readonly fire: () => void;
}

/** A clock that jumps to the next sleeper as soon as no store call is under way. */
export interface VirtualClock extends Clock {
  /** The same time; its sleeps end when time passes, but do not make it pass. For pollers, which always sleep. */
  readonly passive: Clock;
  /** Moves time, waking everyone who sleeps until then in order, and lets the work that this starts go idle. */
  advance(ms: number): Promise<void>;
}

/** What a clock must wait for before time may pass. */
export interface Activity {
  /** Store calls at the database. */
  inFlight(): number;
  /** Store calls held up by someone who looks on, and who may move the clock by hand meanwhile. */
  watched(): number;
}

/** Makes a clock that stands still while there is activity. */
export function createVirtualClock({ inFlight, watched }: Activity): VirtualClock {
  let elapsed = 0;
  let pumping = false;
  const timers = new Set<Timer>();

  function sleeper(drives: boolean): Clock["sleep"] {
    return (ms, signal) =>
      new Promise((resolve, reject) => {
        const abort = () => {
          timers.delete(timer);
          reject(new RollcallError("aborted", "the call was aborted", { cause: signal?.reason }));
        };
        const fire = () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        };
        const timer: Timer = { at: elapsed + Math.max(0, ms), drives, fire };
        if (signal?.aborted) return abort();
        signal?.addEventListener("abort", abort, { once: true });
        timers.add(timer);
        if (drives && !pumping) {
          pumping = true;
          void pump();
        }
      });
  }

  async function pump(): Promise<void> {
    while (hasDriver(timers)) {
      await idle();
      for (let turns = 0; watched() > 0 && turns < WATCH_TURNS; turns++) await idle();
      const next = earliest(timers);
      if (next !== undefined && hasDriver(timers)) fireAt(next);
    }
    pumping = false;
  }

  async function idle(): Promise<void> {
    for (let turns = 0; turns < IDLE_TURNS; turns++) {
      await new Promise(setImmediate);
      if (inFlight() > 0) turns = -1;
    }
  }

  function fireAt(timer: Timer): void {
    elapsed = Math.max(elapsed, timer.at);
    timers.delete(timer);
    timer.fire();
  }

  const clock = { now: () => START + Math.floor(elapsed), monotonic: () => elapsed };
  return {
    ...clock,
    sleep: sleeper(true),
    passive: { ...clock, sleep: sleeper(false) },
    async advance(ms) {
      const target = elapsed + ms;
      for (;;) {
        const next = earliest(timers);
        if (next === undefined || next.at > target) break;
        fireAt(next);
        await idle();
      }
      elapsed = Math.max(elapsed, target);
      await idle();
    },
  };
}

function hasDriver(timers: ReadonlySet<Timer>): boolean {
  for (const timer of timers) if (timer.drives) return true;
  return false;
}

function earliest(timers: ReadonlySet<Timer>): Timer | undefined {
  let found: Timer | undefined;
  for (const timer of timers) if (found === undefined || timer.at < found.at) found = timer;
  return found;
}
