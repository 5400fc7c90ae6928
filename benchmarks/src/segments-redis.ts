// Loading segments on Redis in either layout, for the benchmarks that measure the loading or what was loaded.

import type { Rollcall } from "@rollcall/core";
import { type BigSegments, openBigSegments } from "./big-segments-redis.js";
import { connectTo, usedBytesOf } from "./measured-redis.js";
import { age, withRollcall } from "./rollcall-redis.js";
import { type Load, type Loaded, type LoadingWork, loadEach as loadInto, segmentKey } from "./segment-loading.js";
import { openTurns, type Turns } from "./turns-redis.js";

/** A load, perhaps in turns with another process. */
export interface LoadOnRedis extends Load {
  /** After each segment the other one has its turn. */
  readonly turns?: Turns | undefined;
}

/** Loads segments into an empty server in the peer's layout. */
export async function loadBigSegments(load: LoadOnRedis): Promise<Loaded> {
  const peer = await openBigSegments(load.url);
  const loaded = await loadEach(load, addBy(peer));
  peer.close();
  return loaded;
}

/** Loads segments into an empty server by `replace`. */
export async function loadSegments(load: LoadOnRedis): Promise<Loaded> {
  return withAged(load, (rollcall) => loadEach(load, replaceBy(rollcall)));
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
    if (report.members.included.value !== stream.count) throw new Error(`${report.members.included.value} members`);
  };
}

/** As the Relay Proxy writes a segment: its key and its generation. */
export function bigSegmentRef(number: number): string {
  return `${segmentKey(number)}.g1`;
}

async function loadEach(load: LoadOnRedis, work: LoadingWork): Promise<Loaded> {
  const observer = await connectTo(load.url);
  const turns = load.turns && (await openTurns(load.turns));
  const loaded = await loadInto(load, () => usedBytesOf(observer), work, turns);
  turns?.close();
  observer.disconnect();
  return loaded;
}
