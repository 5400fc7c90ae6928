// What a torture run works on, and what it counts.

import type { Rollcall, SegmentStore } from "@rollcall/core";
import type { TorturePlace } from "./torture-place.js";

/** How long the lease of a writer lasts that was killed. */
export const LEASE_TTL_MS = 1_000;
/** How long a replaced set stays for readers. */
export const GRACE_MS = 12_000;
/** Below half of it, and enough for a server that shares a busy machine with the writers. */
export const MAX_REGISTRY_AGE_MS = 5_000;

export type Mode = "replace" | "merge";

/** What happened to the syncs of one mode. */
export interface Tally {
  mode: Mode;
  runs: number;
  /** Where the kill met the writer. */
  killedBeforeAcknowledged: number;
  finishedBeforeKill: number;
  /** What readers saw right after the kill, before the repeat. */
  seenOld: number;
  seenNew: number;
  /** A killed merge may have changed some members: each of them is old or new. */
  seenPartial: number;
  observations: number;
  deviations: string[];
}

/** What a run works on. */
export interface Torture {
  readonly place: TorturePlace;
  readonly environment: string;
  readonly members: number;
  readonly store: SegmentStore;
  readonly rollcall: Rollcall;
  readonly random: () => number;
  readonly log: (line: string) => void;
}
