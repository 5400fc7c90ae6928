// Our side of the Redis benchmarks, as a program of a user opens it.

import type { Fence, RollcallOptions, SegmentKey } from "@rollcall/core";
import { createRedisStore } from "@rollcall/redis";
import { type OpenEnvironment, withEnvironment } from "./open-environment.js";

/** Runs `work` on the environment at `url`. */
export function withRollcall<T>(
  url: string,
  options: RollcallOptions,
  work: (environment: OpenEnvironment) => Promise<T>,
): Promise<T> {
  return withEnvironment(createRedisStore(url), options, work);
}

/** From this number on a member set's number takes three bytes; two million are to come before it takes four. */
const SETS_BEFORE = 16_384;
const AT_ONCE = 256;

/**
 * Uses up the small numbers of member sets, which take fewer bytes in each context: an environment that replaces a hundred segments
 * each hour is past them within a week.
 */
export async function age({ store }: OpenEnvironment): Promise<void> {
  const fence: Fence = { segmentKey: "before" as SegmentKey, generation: 1, holder: "bench", token: 1 };
  for (let number = 0; number < SETS_BEFORE; number += AT_ONCE)
    await Promise.all(Array.from({ length: AT_ONCE }, () => store.allocateMemberSet(0, fence)));
  await store.dropMemberSets(await store.listMemberSets());
}
