// The order of fences, for every adapter that reads the stored fence and compares it inside the transaction that writes.

import { RollcallError } from "./errors.js";
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
  if (present === undefined) {
    throw new RollcallError("stale_lease", `member set ${set.id} of segment ${fence.segmentKey} was dropped`);
  }
  if (present.segmentKey !== fence.segmentKey || present.generation !== fence.generation) {
    throw new RollcallError("stale_lease", `member set ${set.id} does not belong to segment ${fence.segmentKey}`);
  }
  return present;
}

/**
 * Whether `fence` is newer than `present`, of the same segment and generation; `false` if they are the same.
 * @throws `stale_lease` if it is older, or of another holder with the same token.
 */
export function isNewerFence(set: MemberSet, present: Fence, fence: Fence): boolean {
  if (present.token < fence.token) return true;
  if (present.token === fence.token && present.holder === fence.holder) return false;
  throw new RollcallError(
    "stale_lease",
    `a newer writer took over member set ${set.id} of segment ${fence.segmentKey}; repeat the whole sync`,
  );
}
