// Hears from a store that its epoch has moved, where the store offers that: one watch for all readers of a store, begun again by
// itself. Best effort: a reader polls all the same.

import pRetry, { AbortError } from "p-retry";
import { systemClock } from "./clock.js";
import { isRollcallError } from "./errors.js";
import type { SegmentStore } from "./store.js";

/** Who is told by a watch. Neither function may throw. */
export interface EpochListener {
  /** The epoch may have moved. */
  readonly onMoved: () => void;
  /** The watch broke, or could not begin. It tries again by itself. */
  readonly onFailure: () => void;
}

/** A watch begins so long after its first listener came: one who asks a single question is gone by then, and cost no connection. */
const BEGIN_MS = 250;
/** Pauses before a watch begins again: from about the first, doubled each time, to the second. */
const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;
/** A watch that has lasted so long begins again without a pause when it breaks. */
const STEADY_MS = 60_000;

interface Watch {
  readonly listeners: Set<EpochListener>;
  readonly stop: AbortController;
}

const watches = new WeakMap<SegmentStore, Watch>();
/** Those that had nothing to tell. They are not asked again: each time costs a connection. */
const silent = new WeakSet<SegmentStore>();

/** Tells `listener` from now on, if `store` can; answers how to stop. The watch ends with its last listener. */
export function listenToEpoch(store: SegmentStore, listener: EpochListener): () => void {
  if (store.watchEpoch === undefined || silent.has(store)) return () => {};
  const watch = watches.get(store) ?? begin(store);
  watch.listeners.add(listener);
  return () => {
    watch.listeners.delete(listener);
    if (watch.listeners.size > 0 || watches.get(store) !== watch) return;
    watches.delete(store);
    watch.stop.abort();
  };
}

function begin(store: SegmentStore): Watch {
  const watch: Watch = { listeners: new Set(), stop: new AbortController() };
  watches.set(store, watch);
  const timer = setTimeout(() => {
    // Rejects when it was stopped, or is of no use: each failure was told to the listeners.
    keepWatching(store, watch).catch(() => {});
  }, BEGIN_MS);
  timer.unref();
  watch.stop.signal.addEventListener("abort", () => clearTimeout(timer));
  return watch;
}

/** Resolves when the store has nothing more to tell. */
async function keepWatching(store: SegmentStore, { listeners, stop }: Watch): Promise<void> {
  const { signal } = stop;
  const onMoved = () => {
    if (signal.aborted) return;
    for (const listener of listeners) listener.onMoved();
  };

  /** Answers whether another one is worth while at once. */
  async function watchOnce(): Promise<boolean> {
    const begunAt = systemClock.monotonic();
    try {
      await store.watchEpoch?.(onMoved, signal);
      return false;
    } catch (error) {
      if (signal.aborted) throw error;
      for (const listener of listeners) listener.onFailure();
      if (isRollcallError(error, "closed")) throw new AbortError(error);
      if (systemClock.monotonic() - begunAt >= STEADY_MS) return true;
      throw error;
    }
  }

  const pauses = { minTimeout: MIN_PAUSE_MS, maxTimeout: MAX_PAUSE_MS, randomize: true };
  while (await pRetry(watchOnce, { ...pauses, retries: Number.POSITIVE_INFINITY, signal, unref: true }));
  silent.add(store);
}
