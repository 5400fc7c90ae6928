// Lookups of random contexts in several ways, timed in slices in turn: what disturbs one way disturbs the others.

import { isIn, keyOf } from "./audience.js";
import { median } from "./benchmark.js";

/** Lookups under way at any time, and how many of them make a slice unless told otherwise. */
export const BUSY = 100;
export const SLICES_OF: ReadonlyMap<number, number> = new Map([
  [1, 2_000],
  [BUSY, 20_000],
]);
const SLICES = 14;
const WARM_UP = 4;
/** Slices that a median is of. */
export const SLICES_COUNTED = SLICES - WARM_UP;

/** Answers whether a context is in the segment that is asked about. */
export type Lookup = (key: string) => Promise<boolean>;

/** Nanoseconds per lookup, by the number under way. */
export type Times<Way extends string> = Record<number, Record<Way, number>>;

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
      for (const way of names) {
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
