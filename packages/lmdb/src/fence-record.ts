// The stored fence, checked inside the transaction that writes.

import { decodeFence, type Fence, type MemberSet, requireFence } from "@rollcall/core";
import { fenceRecordKey } from "./registry-key.js";
import type { Tables } from "./shared-environment.js";

/**
 * Checks that `fence` may write `set`; answers whether the stored fence is older, so that it has to be raised.
 * @throws `stale_lease`.
 */
export function requireStoredFence({ registry }: Tables, set: MemberSet, fence: Fence): boolean {
  const text = registry.get(fenceRecordKey(set.id));
  return requireFence(set, text === undefined ? undefined : decodeFence(text).fence, fence);
}
