// Changes of a segment that keep its size, from all over it.

import type { MemberChange } from "@rollcall/core";
import { keyOf } from "./audience.js";

/** A change of a context that is named by its key. */
export interface KeyChange extends MemberChange {
  readonly member: string;
}

/** All people, each once, in an order that has nothing to do with that of their hashes; endless. */
export function* shuffledPeople(members: number): Generator<string> {
  for (let i = 0; ; i++) yield keyOf((i * STRIDE) % members);
}

/** A prime, so that it visits everyone. */
const STRIDE = 611_953;

/**
 * Deltas of so many changes. Each brings back half as many members as the one before removed, and removes others; the last brings back
 * all that are missing. So each change is one, meets a context that may be in other segments too, and the segment keeps its size.
 */
export function* toAndFro(people: Iterator<string>, changes: number, deltas: number): Generator<KeyChange[]> {
  const gone: string[] = [];
  for (let number = 1; number <= deltas; number++) {
    const isLast = number === deltas;
    const back = gone.splice(0, isLast ? gone.length : Math.ceil(changes / 2));
    const going = Array.from({ length: isLast ? 0 : changes - back.length }, () => String(people.next().value));
    gone.push(...going);
    yield [...back.map((member) => change(member, "add")), ...going.map((member) => change(member, "remove"))];
  }
}

function change(member: string, change: KeyChange["change"]): KeyChange {
  return { member, change };
}
