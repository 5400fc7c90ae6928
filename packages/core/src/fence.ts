// The order of fences, and their stored form, for every adapter that keeps one fence for each member set.

import { RollcallError } from "./errors.js";
import type { SegmentKey } from "./names.js";
import type { MemberSet } from "./segment.js";
import type { Fence } from "./store.js";

/**
 * Checks that `fence` may write `set`, whose stored fence is `present`; answers whether it is newer, so that it has to be stored.
 * @throws `stale_lease` if there is no stored fence, or one that is newer or of another segment or generation.
 */
export function requireFence(set: MemberSet, present: Fence | undefined, fence: Fence): boolean {
  return isNewerFence(set, requireOwnFence(set, present, fence), fence);
}

/**
 * The stored fence, if there is one and it is of the same segment and generation as `fence`, whatever its token.
 * @throws `stale_lease` otherwise.
 */
export function requireOwnFence(set: MemberSet, present: Fence | undefined, fence: Fence): Fence {
  if (present === undefined) throw refusedByFence(set, fence, "dropped");
  if (present.segmentKey !== fence.segmentKey || present.generation !== fence.generation)
    throw refusedByFence(set, fence, "foreign");
  return present;
}

/**
 * Whether `fence` is newer than `present`, of the same segment and generation; `false` if they are the same.
 * @throws `stale_lease` if it is older, or of another holder with the same token.
 */
export function isNewerFence(set: MemberSet, present: Fence, fence: Fence): boolean {
  if (present.token < fence.token) return true;
  if (present.token === fence.token && present.holder === fence.holder) return false;
  throw refusedByFence(set, fence, "newer");
}

/** Why a stored fence refuses a writer: there is none, it is of another segment or generation, or it is newer. */
export type FenceRefusal = "dropped" | "foreign" | "newer";

/** The `stale_lease` to throw; for adapters whose database compares fences by itself. */
export function refusedByFence(set: MemberSet, { segmentKey }: Fence, refusal: FenceRefusal): RollcallError {
  const messages: Readonly<Record<FenceRefusal, string>> = {
    dropped: `member set ${set.id} of segment ${segmentKey} was dropped`,
    foreign: `member set ${set.id} does not belong to segment ${segmentKey}`,
    newer: `a newer writer took over member set ${set.id} of segment ${segmentKey}; repeat the whole sync`,
  };
  return new RollcallError("stale_lease", messages[refusal]);
}

/** The stored form of a set's fence: JSON. */
export function encodeFence({ shardBits }: MemberSet, { segmentKey, generation, holder, token }: Fence): string {
  return JSON.stringify({ shardBits, segmentKey, generation, holder, token });
}

/** Reads what {@link encodeFence} wrote. @throws `corrupt_data`. */
export function decodeFence(text: string): { readonly shardBits: number; readonly fence: Fence } {
  let value: Partial<Record<keyof Fence | "shardBits", unknown>>;
  try {
    value = Object(JSON.parse(text));
  } catch (cause) {
    throw damaged(cause);
  }
  const { shardBits, segmentKey, generation, holder, token } = value;
  if (
    typeof shardBits !== "number" ||
    typeof segmentKey !== "string" ||
    typeof generation !== "number" ||
    typeof holder !== "string" ||
    typeof token !== "number"
  )
    throw damaged(undefined);
  return { shardBits, fence: { segmentKey: segmentKey as SegmentKey, generation, holder, token } };
}

function damaged(cause: unknown): RollcallError {
  return new RollcallError("corrupt_data", "a fence record is damaged; restore the store from a copy", { cause });
}
