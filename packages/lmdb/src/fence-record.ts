// Fences as they are stored: who may write a member set, checked and raised inside the transaction that writes.

import { type Fence, type MemberSet, RollcallError, requireFence, type SegmentKey } from "@rollcall/core";
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
