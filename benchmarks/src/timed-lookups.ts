// Lookups of random contexts in several ways, timed in slices in turn: what disturbs one way disturbs the others.

import { isIn, keyOf } from "./audience.js";
import { median } from "./benchmark.js";

/** Lookups under way at any time, and how many of them make a slice unless told otherwise. */
export const BUSY = 100;
export const SLICES_OF: ReadonlyMap<number, number> = new Map([
  [1, 400],
  [BUSY, 4_000],
]);
/** Many short ones: a machine that others use too is slow for a while, and then for all ways. */
const SLICES = 40;
const WARM_UP = 10;
const SLICES_COUNTED = SLICES - WARM_UP;
/**
 * How often all of it is measured, each time by another process over connections of its own. Where its two ends run decides on how long a
 * round trip takes, and the system chooses that anew.
 */
const ROUNDS = 5;
/** What the figures are, for the notes. */
export const HOW_TIMED = `The median of ${SLICES_COUNTED} slices, the ways in turn; the least of ${ROUNDS} such medians for each way, each of another process with connections of its own`;

/** Answers whether a context is in the segment that is asked about. */
export type Lookup = (key: string) => Promise<boolean>;

/** Nanoseconds per lookup, by the number under way. */
export type Times<Way extends string> = Record<number, Record<Way, number>>;

/** What `measure` finds, the least of several times for each way. */
export async function quickest<Way extends string>(measure: () => Promise<Times<Way>>): Promise<Times<Way>> {
  const best: Times<Way> = {};
  for (let round = 0; round < ROUNDS; round++) {
    for (const [atOnce, times] of Object.entries(await measure())) {
      const known = best[Number(atOnce)];
      const least = (Object.entries(times) as [Way, number][]).map(([way, ns]) => [
        way,
        Math.min(ns, known?.[way] ?? ns),
      ]);
      best[Number(atOnce)] = Object.fromEntries(least) as Record<Way, number>;
    }
  }
  return best;
}

/** Asks in every way about the same of `contexts` people, of whom segment 0 holds one in `oneIn`. @throws on a wrong answer. */
export async function timeLookups<Way extends string>(
  ways: Readonly<Record<Way, Lookup>>,
  {
    contexts,
    oneIn,
    slicesOf = SLICES_OF,
  }: { readonly contexts: number; readonly oneIn: number; readonly slicesOf?: ReadonlyMap<number, number> },
): Promise<Times<Way>> {
  const names = Object.keys(ways) as Way[];
  const times: Times<Way> = {};
  for (const [atOnce, slice] of slicesOf) {
    const all = new Map(names.map((way) => [way, [] as number[]]));
    for (let number = 0; number < SLICES; number++) {
      const asked = Array.from({ length: slice }, () => Math.floor(Math.random() * contexts));
      const keys = asked.map(keyOf);
      const members = asked.filter((i) => isIn({ number: 0, oneIn }, i)).length;
      // Each begins as often as the others: what came before it has filled the processor's caches.
      const first = number % names.length;
      for (const way of [...names.slice(first), ...names.slice(0, first)]) {
        const started = performance.now();
        const found = await countMembers(ways[way], keys, atOnce);
        const ms = performance.now() - started;
        if (found !== members) throw new Error(`${way}: ${found} members found, not ${members}`);
        if (number >= WARM_UP) all.get(way)?.push((ms * 1e6) / slice);
      }
    }
    times[atOnce] = Object.fromEntries(names.map((way) => [way, median(all.get(way) ?? [])])) as Record<Way, number>;
  }
  return times;
}

/** As many callers as lookups are to be under way; each asks its next one when the one before is answered. */
async function countMembers(lookup: Lookup, keys: readonly string[], atOnce: number): Promise<number> {
  let members = 0;
  let next = 0;
  async function call(): Promise<void> {
    for (let key = keys[next++]; key !== undefined; key = keys[next++]) if (await lookup(key)) members++;
  }
  await Promise.all(Array.from({ length: atOnce }, call));
  return members;
}
