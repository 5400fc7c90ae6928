// Loading segments on Redis in either layout, for the benchmarks that measure the loading or what was loaded.

import { openBigSegments } from "./big-segments-redis.js";
import { connectTo, usedBytesOf } from "./measured-redis.js";
import { age, withRollcall } from "./rollcall-redis.js";
import { type Load, type Loaded, loadEach as loadInto, segmentKey } from "./segment-loading.js";

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

async function loadEach(load: Load, work: Parameters<typeof loadInto>[2]): Promise<Loaded> {
  const observer = await connectTo(load.url);
  const loaded = await loadInto(load, () => usedBytesOf(observer), work);
  observer.disconnect();
  return loaded;
}
