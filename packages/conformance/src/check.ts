// A check: one named fact about a store, the promise it proves, and what it gets to work with.

import assert from "node:assert/strict";
import {
  isRollcallError,
  type Rollcall,
  type RollcallError,
  type RollcallErrorCode,
  type RollcallOptions,
  type SegmentReader,
  type SegmentReaderOptions,
  type SegmentStore,
  type StoreCapabilities,
} from "@rollcall/core";
import type { FaultyStore, FaultyStoreOptions } from "./faulty-store.js";
import type { VirtualClock } from "./virtual-clock.js";

/** What the checks prove, as the architecture page promises it. */
export const PROMISES = {
  port: "the port",
  durable: "1: nothing acknowledged is lost",
  repeat: "2: repeating is harmless",
  snapshot: "3: a snapshot is atomic",
  member: "4: each member's change is atomic",
  writer: "5: one writer at a time per segment",
  order: "6: the order of acknowledged syncs is the order of effect",
  manual: "7: manual wins",
  kind: "8: one context kind per segment",
  isolation: "9: environments do not see each other",
  secrecy: "10: no key is kept or leaked",
  wipe: "11: a wipe is deliberate",
  counts: "12: counts are exact or say that they are not",
} as const;
export type PromiseName = keyof typeof PROMISES;

/** What a check works with: a database of its own, and everything made here is closed when it ends. */
export interface CheckContext {
  readonly capabilities: StoreCapabilities;
  readonly seed: number;
  readonly runs: number;
  readonly shrink: boolean;
  readonly scaleMembers: number;
  /** How long the whole check may take. */
  readonly timeoutMs: number;
  /** The clock of every {@link rollcall} and {@link reader} of this check; moves when a writer sleeps, or by hand. */
  readonly clock: VirtualClock;
  /** A fresh, opened handle on the environment, by default `production`. */
  open(environment?: string, options?: FaultyStoreOptions): Promise<FaultyStore>;
  /** A second, empty database. */
  openElsewhere(): Promise<FaultyStore>;
  /** A Rollcall on `store`, by default on a fresh handle. */
  rollcall(store?: SegmentStore, options?: RollcallOptions): Promise<Rollcall>;
  /** A reader on `store`, by default on a fresh handle. */
  reader(store?: SegmentStore, options?: Omit<SegmentReaderOptions, "store">): Promise<SegmentReader>;
}

/** One fact that every store must show: where a capability decides what is promised, the check asks for what is declared. */
export interface Check {
  /** Unique in the suite. */
  readonly name: string;
  readonly promise: PromiseName;
  run(t: CheckContext): Promise<void>;
}

/** Asserts that `call` rejects with a Rollcall error of one of `codes`, and answers the error. */
export async function rejectsWith(
  call: Promise<unknown> | (() => Promise<unknown>),
  ...codes: RollcallErrorCode[]
): Promise<RollcallError> {
  try {
    await (typeof call === "function" ? call() : call);
  } catch (error) {
    assert.ok(isRollcallError(error), `expected a RollcallError, got ${error}`);
    assert.ok(codes.includes(error.code), `expected ${codes.join(" or ")}, got ${error.code}: ${error.message}`);
    return error;
  }
  assert.fail(`expected ${codes.join(" or ")}, and the call succeeded`);
}
