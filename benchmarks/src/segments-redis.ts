// Loading segments on Redis in either layout, for the benchmarks that measure the loading or what was loaded.

import { type KeyStream, type SegmentShare, streamMembers } from "./audience.js";
import { openBigSegments } from "./big-segments-redis.js";
import { connectTo, usedBytesOf } from "./measured-redis.js";
import { age, withRollcall } from "./rollcall-redis.js";

/** What to load: segments number 0, 1, … of the people of one environment. */
export interface Load {
  readonly url: string;
  readonly contexts: number;
  readonly segments: number;
  /** Each segment holds one in so many of the people. */
  readonly oneIn: number;
}

/** What loading took. */
export interface Loaded {
  /** Members per second, segment by segment; making keys is not in it. */
  readonly rates: readonly number[];
  /** Memory of the server after each segment, above what it had before the first, in bytes. */
  readonly bytes: readonly number[];
}

/** Loads segments into an empty server in the peer's layout. */
export async function loadBigSegments(load: Load): Promise<Loaded> {
  const peer = await openBigSegments(load.url);
  const loaded = await loadEach(load, async (number, stream) => peer.add(bigSegmentRef(number), stream.keys));
  peer.close();
  return loaded;
}

/** Loads segments into an empty server by `replace`. */
export async function loadSegments(load: Load): Promise<Loaded> {
  return withRollcall(load.url, { expectedContexts: load.contexts }, async (environment) => {
    await environment.rollcall.initialize();
    await age(environment);
    return loadEach(load, async (number, stream) => {
      const report = await environment.rollcall.replace(segmentKey(number), { included: stream.keys });
      if (report.members.included.value !== stream.keysMade)
        throw new Error(`${report.members.included.value} members`);
    });
  });
}

/** As the Relay Proxy writes a segment: its key and its generation. */
export function bigSegmentRef(number: number): string {
  return `${segmentKey(number)}.g1`;
}

export function segmentKey(number: number): string {
  return `segment-${number}`;
}

export function segmentsText(segments: number): string {
  return segments === 1 ? "1 segment" : `${segments} segments`;
}

async function loadEach(
  { url, contexts, segments, oneIn }: Load,
  work: (number: number, stream: KeyStream) => Promise<void>,
): Promise<Loaded> {
  const observer = await connectTo(url);
  const before = await usedBytesOf(observer);
  const rates: number[] = [];
  const bytes: number[] = [];
  for (let number = 0; number < segments; number++) {
    const share: SegmentShare = { number, oneIn };
    const stream = streamMembers(share, contexts);
    const started = performance.now();
    await work(number, stream);
    const ms = performance.now() - started - stream.makingMs;
    rates.push(stream.keysMade / (ms / 1_000));
    bytes.push((await usedBytesOf(observer)) - before);
  }
  observer.disconnect();
  return { rates, bytes };
}
