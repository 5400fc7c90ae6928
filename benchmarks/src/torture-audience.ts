// The audiences of the torture run, computed from a number, so that parent and child agree without sharing anything.

import type { MemberChange } from "@rollcall/core";
import { mix } from "./audience.js";

/** Keys from which every audience is drawn. */
export function universe(members: number): number {
  return Math.ceil(members * 1.5);
}

export function keyOf(index: number): string {
  return `torture-user-${index}`;
}

/** Whether snapshot number `version` holds member `index`: two thirds of the universe, another choice in each version. */
export function inSnapshot(index: number, version: number): boolean {
  return mix(index, version) % 3 !== 0;
}

/** What delta number `version` says of member `index`: about a quarter of the universe is changed. */
export function inDelta(index: number, version: number): MemberChange["change"] | undefined {
  const roll = mix(index, version + 0x1000_0000) % 8;
  if (roll === 0) return "add";
  return roll === 1 ? "remove" : undefined;
}

/** The members of a snapshot in batches, in an order that is not that of their hashes. */
export function* snapshotMembers(members: number, version: number): Generator<string[]> {
  yield* inBatches(members, (index) => (inSnapshot(index, version) ? keyOf(index) : undefined));
}

/** The changes of a delta in batches. */
export function* deltaChanges(members: number, version: number): Generator<MemberChange[]> {
  yield* inBatches(members, (index) => {
    const change = inDelta(index, version);
    return change && { member: keyOf(index), change };
  });
}

function* inBatches<T>(members: number, make: (index: number) => T | undefined): Generator<T[]> {
  let batch: T[] = [];
  for (let index = 0; index < universe(members); index++) {
    const entry = make(index);
    if (entry === undefined || batch.push(entry) < 4_096) continue;
    yield batch;
    batch = [];
  }
  yield batch;
}
