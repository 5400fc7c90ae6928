// The contexts of one kind whose member sets are known: resolved sets, not answers, so that one entry serves every
// segment of the kind and outlives the flip of any other.

import { LRUCache } from "lru-cache";
import type { RollcallError } from "./errors.js";
import type { MemberSetId } from "./segment.js";

/** What one lookup said of one context. */
export interface ResolvedContext {
  /** The member sets it is in, out of all sets of its kind in the snapshot `version`. */
  readonly ids: readonly MemberSetId[];
  readonly version: number;
  /** Whole monotonic milliseconds, rounded down, from before the lookup was sent. */
  readonly resolvedAt: number;
  /** What the store said of sets that have lost members, and were not asked about; such an answer is never cached. */
  readonly loss?: RollcallError | undefined;
}

/**
 * A bounded cache of resolved contexts by context key. Ages are the caller's to check: an old entry is still what was
 * known last.
 */
export class ContextCache {
  readonly #size: number;
  #entries: LRUCache<string, ResolvedContext> | undefined;

  /** `size` 0 keeps nothing. */
  constructor(size: number) {
    this.#size = size;
  }

  get(key: string): ResolvedContext | undefined {
    return this.#entries?.get(key);
  }

  set(key: string, resolved: ResolvedContext): void {
    if (this.#size === 0) return;
    // Made late: it reserves memory for all its entries at once.
    this.#entries ??= new LRUCache({ max: this.#size });
    this.#entries.set(key, resolved);
  }

  clear(): void {
    this.#entries?.clear();
  }
}
