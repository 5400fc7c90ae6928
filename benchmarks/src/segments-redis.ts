// Loading segments on Redis in either layout, for the benchmarks that measure the loading or what was loaded.

import type { Rollcall } from "@rollcall/core";
import { type BigSegments, openBigSegments } from "./big-segments-redis.js";
import { connectTo, usedBytesOf } from "./measured-redis.js";
import { age, withRollcall } from "./rollcall-redis.js";
import {
  type Load,
  type Loaded,
  type LoadingWork,
  loadEach as loadInto,
  loadOne,
  segmentKey,
} from "./segment-loading.js";

/** Loads segments into an empty server in the peer's layout. */
export async function loadBigSegments(load: Load): Promise<Loaded> {
  const peer = await openBigSegments(load.url);
  const loaded = await loadEach(load, addBy(peer));
  peer.close();
  return loaded;
}

/** Loads segments into an empty server by `replace`. */
export async function loadSegments(load: Load): Promise<Loaded> {
  return withRollcall(load.url, { expectedContexts: load.contexts }, async (environment) => {
    await environment.rollcall.initialize();
    await age(environment);
    return loadEach(load, replaceBy(environment.rollcall));
  });
}

/** Members per second of both sides, segment by segment. */
export interface Rates {
  readonly peer: readonly number[];
  readonly ours: readonly number[];
}

/** Loads segments into an empty server in both layouts in turn, for how fast a machine is changes from minute to minute. */
export async function loadInTurn(load: Load): Promise<Rates> {
  const peer = await openBigSegments(load.url);
  const rates = await withRollcall(load.url, { expectedContexts: load.contexts }, async (environment) => {
    await environment.rollcall.initialize();
    await age(environment);
    const both = { peer: [] as number[], ours: [] as number[] };
    const turns = [
      async (number: number) => both.peer.push(await loadOne(load, number, addBy(peer))),
      async (number: number) => both.ours.push(await loadOne(load, number, replaceBy(environment.rollcall))),
    ];
    for (let number = 0; number < load.segments; number++)
      for (const turn of number % 2 === 0 ? turns : turns.toReversed()) await turn(number);
    return both;
  });
  peer.close();
  return rates;
}

function addBy(peer: BigSegments): LoadingWork {
  return (number, stream) => peer.add(bigSegmentRef(number), stream.keys);
}

function replaceBy(rollcall: Rollcall): LoadingWork {
  return async (number, stream) => {
    const report = await rollcall.replace(segmentKey(number), { included: stream.keys });
    if (report.members.included.value !== stream.keysMade) throw new Error(`${report.members.included.value} members`);
  };
}

/** As the Relay Proxy writes a segment: its key and its generation. */
export function bigSegmentRef(number: number): string {
  return `${segmentKey(number)}.g1`;
}

async function loadEach(load: Load, work: LoadingWork): Promise<Loaded> {
  const observer = await connectTo(load.url);
  const loaded = await loadInto(load, () => usedBytesOf(observer), work);
  observer.disconnect();
  return loaded;
}
