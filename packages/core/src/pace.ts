// For adapters whose database refuses what comes too fast: how many requests are under way at once, by what it takes. The one
// place where something is sent again below core: only what the database has refused, so that it surely had no effect.

import { type Clock, systemClock } from "./clock.js";

/** Bounds the requests to one database. */
export interface Pace {
  /** Sends a request when there is room for it. @throws what it threw last, after the most attempts if that was a refusal for load. */
  run<T>(request: () => Promise<T>): Promise<T>;
  /** How many may be under way at once, as things are. */
  readonly limit: number;
}

/** Options of {@link createPace}. */
export interface PaceOptions {
  /** The most requests under way at once. */
  readonly most: number;
  /** Whether `error` says that the request had no effect because there were too many; only then is it sent again. */
  readonly isRefusedForLoad: (error: unknown) => boolean;
  /** How often a request is sent at most. Default 8. */
  readonly attempts?: number;
  /** The pause after the first refusal, in milliseconds, which doubles with each up to 100 times as much; halved at random. Default 50. */
  readonly minDelayMs?: number;
  readonly clock?: Clock;
  /** From 0 to 1. Default `Math.random`. */
  readonly random?: () => number;
}

const FEWEST = 1;
const LONGEST_PAUSE = 100;

/**
 * Begins with a quarter of the most. A refusal halves what may be under way, once for all that was sent before; each success makes
 * it a little more: additive increase, multiplicative decrease, as TCP (RFC 5681).
 */
export function createPace(options: PaceOptions): Pace {
  const { most, isRefusedForLoad, attempts = 8, minDelayMs = 50, clock = systemClock, random = Math.random } = options;
  const waiting: (() => void)[] = [];
  let limit = Math.max(FEWEST, most / 4);
  let underWay = 0;
  /** Counts the halvings: a request that was sent before the last one tells nothing new. */
  let halvings = 0;

  function admit(): void {
    while (underWay < Math.floor(limit)) {
      const next = waiting.shift();
      if (next === undefined) return;
      underWay++;
      next();
    }
  }

  async function send<T>(request: () => Promise<T>): Promise<{ readonly answer: T } | { readonly refusal: unknown }> {
    await new Promise<void>((resolve) => {
      waiting.push(resolve);
      admit();
    });
    const before = halvings;
    try {
      const answer = await request();
      limit = Math.min(most, limit + 1 / limit);
      return { answer };
    } catch (error) {
      if (!isRefusedForLoad(error)) throw error;
      if (before === halvings) {
        limit = Math.max(FEWEST, limit / 2);
        halvings++;
      }
      return { refusal: error };
    } finally {
      underWay--;
      admit();
    }
  }

  return {
    get limit() {
      return Math.floor(limit);
    },
    async run(request) {
      for (let attempt = 1; ; attempt++) {
        const sent = await send(request);
        if ("answer" in sent) return sent.answer;
        if (attempt >= attempts) throw sent.refusal;
        const pauseMs = minDelayMs * Math.min(LONGEST_PAUSE, 2 ** (attempt - 1));
        await clock.sleep(pauseMs * (0.5 + random() / 2));
      }
    },
  };
}
