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
  return withAged(load, (rollcall) => loadEach(load, replaceBy(rollcall)));
}

/** What both sides came to. */
export interface OfBoth<T> {
  readonly peer: T;
  readonly ours: T;
}

/**
 * Loads segments into an empty server in both layouts in turn, for how fast a machine is changes from minute to minute. Answers members per
 * second, segment by segment.
 */
export async function loadInTurn(load: Load): Promise<OfBoth<number[]>> {
  const peer = await openBigSegments(load.url);
  const rates: OfBoth<number[]> = { peer: [], ours: [] };
  await withAged(load, async (rollcall) => {
    const turns = [
      { work: addBy(peer), into: rates.peer },
      { work: replaceBy(rollcall), into: rates.ours },
    ];
    for (let number = 0; number < load.segments; number++) {
      for (const { work, into } of turns) into.push(await loadOne(load, number, work));
      turns.reverse();
    }
  });
  peer.close();
  return rates;
}

/** Does `work` in an environment that has been in use for a while. */
function withAged<T>({ url, contexts }: Load, work: (rollcall: Rollcall) => Promise<T>): Promise<T> {
  return withRollcall(url, { expectedContexts: contexts }, async (environment) => {
    await environment.rollcall.initialize();
    await age(environment);
    return work(environment.rollcall);
  });
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
