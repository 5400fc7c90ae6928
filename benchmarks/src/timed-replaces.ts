// Snapshots one after the other into one segment, timed without the making of their keys.

import type { Rollcall } from "@rollcall/core";
import { streamKeys } from "./audience.js";

/**
 * Milliseconds of each of `times` replaces of `members` members, from its first key to its acknowledgement. Each shares half of
 * its members with the one before.
 */
export async function timedReplaces(rollcall: Rollcall, members: number, times: number): Promise<number[]> {
  const milliseconds: number[] = [];
  for (let time = 0; time < times; time++) {
    const from = (time * members) / 2;
    const stream = streamKeys(from, from + members);
    const started = performance.now();
    const report = await rollcall.replace("bench", { included: stream.keys });
    milliseconds.push(performance.now() - started - stream.makingMs);
    if (report.members.included.value !== members) throw new Error(`${report.members.included.value} members`);
  }
  return milliseconds;
}
