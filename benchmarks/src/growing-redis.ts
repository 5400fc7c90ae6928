// The sides of what grows on Redis.

import type { Growing } from "./growth.js";
import { withRollcall } from "./rollcall-redis.js";
import { timedReplaces } from "./timed-replaces.js";

/** Milliseconds for a `replace` into an empty environment, from its first key to its acknowledgement. */
export async function firstReplace(growing: Growing): Promise<number> {
  const [first] = await replaces(growing, 1);
  return first ?? Number.NaN;
}

/** The same for the snapshot after it, which shares half of its members with the first. */
export async function secondReplace(growing: Growing): Promise<number> {
  const [, second] = await replaces(growing, 2);
  return second ?? Number.NaN;
}

async function replaces({ url, members, memoryLimitBytes }: Growing, times: number): Promise<number[]> {
  return withRollcall(url, { expectedContexts: members, memoryLimitBytes }, async ({ rollcall }) => {
    return timedReplaces(rollcall, members, times);
  });
}
